"""The arithmetic of learning online."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from tandem.jobs.apart import ask
from tandem.monitoring.online.learn import LEARNER, MODULE, Convert, Done, Learn, convert, learn, learned
from tandem.serving.encoding import Category, Encoding, Number
from tandem.serving.linear import Linear
from tandem.serving.onnx import Onnx

NAN = float("nan")


def model(outputs: int = 1, link: str = "logistic") -> Linear:
    draw = np.random.default_rng(3)
    return Linear.of(
        means=np.array([1.0, 2.0]),
        scales=np.array([1.0, 4.0]),
        coefficients=draw.normal(size=(outputs, 2)),
        intercepts=np.zeros(outputs),
        link=link,  # type: ignore[arg-type]  # one of them
    )


def written(folder: Path, linear: Linear) -> str:
    folder.mkdir()
    (folder / "linear.json").write_bytes(msgspec.json.encode(linear.weights))
    return str(folder)


def test_each_row_is_predicted_before_it_is_learned() -> None:
    rows, truths = np.array([[1.0, 9.0], [3.0, NAN], [1.0, 9.0]]), np.array([1.0, 0.0, 1.0])
    said, after = learned(model(), rows, truths, 0.3)
    assert said[0] == model().predict(rows[:1])[0]
    _, first = learned(model(), rows[:1], truths[:1], 0.3)
    assert said[1] == first.predict(rows[1:2])[0]
    assert said[2] > said[0]
    again, same = learned(model(), rows, truths, 0.3)
    assert again.tolist() == said.tolist()
    assert same.weights == after.weights
    assert (after.means.tolist(), after.scales.tolist()) == ([1.0, 2.0], [1.0, 4.0])  # how a row is prepared stays


def test_no_row_moves_its_own_score_by_more_than_its_error() -> None:
    row = np.array([[1e9, -1e9]])
    linear = model(link="identity")
    told = linear.predict(row)[0, 0]
    _, after = learned(linear, row, np.array([told + 10.0]), 0.3)
    assert after.predict(row)[0, 0] - told == pytest.approx(3.0, rel=1e-3)


@pytest.mark.parametrize(("outputs", "link"), [(1, "logistic"), (3, "softmax"), (1, "identity")])
def test_it_learns_what_can_be_learned(outputs: int, link: str) -> None:
    draw = np.random.default_rng(4)
    rows = draw.normal(size=(2_000, 2)) * [1.0, 4.0] + [1.0, 2.0]
    scaled = (rows - [1.0, 2.0]) / [1.0, 4.0]
    lean = scaled @ [2.0, -1.0]
    truths = {"logistic": (lean > 0).astype(float), "softmax": np.digitize(lean, [-1.0, 1.0]).astype(float), "identity": lean}[
        link
    ]
    said, after = learned(model(outputs, link), rows, truths, 0.3)

    def right(told: np.ndarray) -> np.ndarray:
        match link:
            case "logistic":
                return (told[:, 0] >= 0.5) == truths[-500:]
            case "softmax":
                return told.argmax(axis=1) == truths[-500:]
            case _:
                return np.abs(told[:, 0] - truths[-500:]) < 0.05

    assert right(said[-500:]).mean() > 0.9
    assert right(after.predict(rows[-500:])).mean() > 0.9


def test_a_process_of_its_own_predicts_by_every_model_and_writes_the_learner(tmp_path: Path) -> None:
    champion = written(tmp_path / "champion", model())
    encoding = Encoding(parts=(Number(), Category(values=("red",))))
    (tmp_path / "champion" / "encoding.json").write_bytes(encoding.to_json())
    out = tmp_path / "out"
    out.mkdir()
    order = Learn(
        members=champion,
        models={"champion": champion, LEARNER: champion},
        rows=[[1.0, "red"], [2.0, "never seen"], [NAN, NAN]],
        truths=[1.0, 0.0, 1.0],
        threshold=0.5,
        rate=0.3,
        out=str(out),
    )
    done = ask(MODULE, order, Done)
    plain = np.array([[1.0, 1.0], [2.0, 0.0], [NAN, 0.0]])
    said, after = learned(model(), plain, np.array(order.truths), 0.3)
    assert done.told == {"champion": model().predict(plain).tolist(), LEARNER: said.tolist()}
    assert done.losses["champion"] == [
        float((p >= 0.5) != t) for (p,), t in zip(done.told["champion"], order.truths, strict=True)
    ]
    assert Linear.load(out).weights == after.weights
    assert learn(msgspec.structs.replace(order, rows=[], truths=[])).losses == {"champion": [], LEARNER: []}


@pytest.mark.parametrize(("outputs", "link"), [(1, "logistic"), (3, "softmax"), (1, "identity")])
def test_the_form_that_is_served_says_the_same(tmp_path: Path, outputs: int, link: str) -> None:
    folder = Path(written(tmp_path / "candidate", model(outputs, link)))
    assert convert(Convert(folder=str(folder))).largest < 1e-12
    rows = np.array([[1.0, NAN], [-3.0, 7.5]])
    assert Onnx.load(folder).predict(rows) == pytest.approx(model(outputs, link).predict(rows), abs=1e-12)
