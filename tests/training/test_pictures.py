"""Models of images: a network that is trained here, one that was trained elsewhere, and what a host says of a file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tests.pictures import packed, shape, shapes

from bench import zoo
from tandem.core.errors import Broken, Forbidden, Invalid, TandemError
from tandem.data.child import Order, carry_out
from tandem.data.pixels import array, opened
from tandem.data.versions import Place
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.held.predict import Case as HeldCase
from tandem.evaluation.held.predict import carry_out as hold_out
from tandem.evaluation.replay import Case as ReplayCase
from tandem.evaluation.replay import replay
from tandem.evaluation.table import Rows
from tandem.jobs.apart import silent
from tandem.serving import base, columns
from tandem.serving.base import CARD, digest_of
from tandem.serving.frames import Ask
from tandem.serving.host import Host
from tandem.serving.images import DEVIATIONS, MEANS, Images
from tandem.serving.offline import child as scoring
from tandem.store.lake import IMAGES, Lake
from tandem.training.algorithms.base import Examples, load, settings
from tandem.training.child import train
from tandem.training.fit import Fitted, fit
from tandem.training.imports.examine import Order as ExamineOrder
from tandem.training.imports.examine import carry_out as examine
from tandem.training.imports.find import find
from tandem.training.imports.nouns import Examined
from tandem.training.manifest import Manifest, Spec
from tandem.training.pictures import Seen, see
from tandem.training.task import Task

COUNT = 50


def quiet(share: float, stage: str) -> None:
    """Nobody looks."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("shapes")
    path = packed(home / "shapes.zip", shapes(COUNT))
    carry_out(Order(path=str(path), lake=str(home / "lake"), table="shapes"))
    return home / "lake"


@pytest.fixture(scope="module")
def frame(lake: Path) -> pl.DataFrame:
    return Lake(lake).read("shapes")


def task(**given: object) -> Task:
    return Task(**{"name": "shapes", "dataset": "dataset/shapes@1", "target": "label", "folds": 2, "seed": 3, **given})  # type: ignore[arg-type]


def fitted(lake: Path, frame: pl.DataFrame, asked: Task, network: Path | None = None) -> tuple[Fitted, Seen]:
    seen = see(asked, frame, lake / IMAGES, network, quiet)
    return fit(asked, frame, quiet, seen=seen), seen


def network(path: Path, *, first: bool = True, side: int | str = 32) -> Path:
    """A network of the user's: what filters for edges find, on average, and how much of it there is."""
    shape = [1, 3, side, side] if first else [1, side, side, 3]
    draw = np.random.default_rng(5)
    filters = numpy_helper.from_array(draw.normal(size=(24, 3, 5, 5)).astype(np.float32), "filters")
    nodes = [] if first else [helper.make_node("Transpose", ["pixels"], ["turned"], perm=[0, 3, 1, 2])]
    nodes += [
        helper.make_node("Conv", ["pixels" if first else "turned", "filters"], ["found"], pads=[2, 2, 2, 2]),
        helper.make_node("Relu", ["found"], ["lit"]),
        helper.make_node("GlobalAveragePool", ["lit"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["numbers"]),
    ]
    graph = helper.make_graph(
        nodes,
        "edges",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, [1, 24])],
        [filters],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def thumbs(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A model of grey thumbnails, as its training left it."""
    folder = tmp_path_factory.mktemp("thumbs")
    return folder, train(Spec(lake=str(lake), table="shapes", version=0, task=task(algorithm="logistic"), images=True), folder)


@pytest.fixture(scope="module")
def newer(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Ten of the images that were learned from, under other names and in another format, and thirty new ones."""
    files = {f"circles/again{number}.webp": webp(shape("circle", 2 * number)) for number in range(10)}
    files |= {f"squares/new{number}.png": shape("square", 1000 + number) for number in range(30)}
    path = packed(tmp_path_factory.mktemp("newer") / "newer.zip", files)
    done = carry_out(Order(path=str(path), lake=str(lake), table="newer"))
    return Place(ref="dataset/newer@1", table="newer", version=done.version, digest=done.digest, images=True)


def webp(content: bytes) -> bytes:
    out = BytesIO()
    Image.open(BytesIO(content)).save(out, "WEBP", lossless=True)
    return out.getvalue()


def test_a_dataset_of_images_is_scored_as_calls_are_answered(
    lake: Path, thumbs: tuple[Path, Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, made = thumbs
    monkeypatch.setattr(scoring, "PICTURES", 30)
    monkeypatch.setattr(columns, "PICTURES", 7)
    order = scoring.Score(
        folder=str(tmp_path), lake=str(lake), table="shapes", version=0, members=str(members), signature=made.signature,
        threshold=made.threshold, classes=made.classes, out="scored", mark="run_1", id_column="file",
    )  # fmt: skip

    def killed(share: float, stage: str) -> None:
        if stage.startswith("scoring: 60"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scoring.score(order, killed)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    assert len(kept) == 2
    done = scoring.score(order, silent).done
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}.items()
    scored = Lake(lake).read("scored", done.version)
    assert (scored.height, done.quarantined) == (2 * COUNT, 0)
    rows = [[base64.b64encode(shape("circle", 2 * number)).decode()] for number in range(COUNT)]
    answer = Host().answer(Ask(1, "predict", "model/shapes@1", str(members), rows, digest_of(members / CARD) or ""))
    assert scored.filter(pl.col("label") == "circles")["probability"].to_list() == [row[0] for row in answer.outputs]


def test_images_that_were_learned_from_are_known_again_by_their_pixels(
    lake: Path, frame: pl.DataFrame, thumbs: tuple[Path, Manifest], newer: Place
) -> None:
    members, made = thumbs
    case = HeldCase(
        dataset=newer.ref, digest=newer.digest, target="label", classes=made.classes, threshold=made.threshold,
        signature=made.signature, asked=Rows(lake=str(lake), table="newer", version=newer.version),
        seen=(Rows(lake=str(lake), table="shapes", version=0),), members=str(members),
    )  # fmt: skip
    assert hold_out(case).seen == 10
    version = Lake(lake).write("unseen", Lake(lake).read("newer", newer.version).tail(30))
    outcome = hold_out(replace(case, asked=Rows(lake=str(lake), table="unseen", version=version)))
    assert outcome.made
    assert outcome.evidence is not None
    assert len(outcome.evidence.probabilities) == 30


def test_a_champion_of_images_is_asked_about_newer_images(lake: Path, thumbs: tuple[Path, Manifest], newer: Place) -> None:
    members, made = thumbs
    known = OutOfFold.from_json((members / "oof.json").read_bytes())
    asked = Lake(lake).read("newer", newer.version)
    labels = tuple(int(label == known.positive) for label in asked["label"])
    candidate = replace(
        known, dataset=newer.ref, digest=newer.digest, rows=tuple(asked["file"]), labels=labels, probabilities=(0.5,) * 40
    )
    found = replay(
        ReplayCase(
            lake=str(lake),
            members=str(members),
            signature=made.signature,
            seen=Place(ref=known.dataset, table="shapes", version=0),
            asked=newer,
            candidate=candidate,
            champion=known,
        )
    )
    before = dict(zip(known.rows, known.probabilities, strict=True))
    again = [int(row.removeprefix("circles/again").removesuffix(".webp")) for row in candidate.rows[:10]]
    assert found.probabilities[:10] == tuple(before[f"circles/{number}.png"] for number in again)
    assert len(set(found.probabilities[10:])) > 1


def test_a_network_trained_here_tells_circles_from_squares_and_serves_by_onnx(
    lake: Path, frame: pl.DataFrame, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    asked = task(algorithm="cnn", params={"epochs": 60})
    manifest = train(Spec(lake=str(lake), table="shapes", version=0, task=asked, images=True), tmp_path)
    assert manifest.metrics["roc_auc"].low > 0.7
    assert (manifest.runtime, manifest.parity.held) == ("onnx", True)
    assert manifest.importances == {"image": 1.0}
    host = Host()
    files = [shape(kind, seed) for kind, seed in (("circle", 901), ("square", 902), ("circle", 903), ("square", 904))]
    rows = [[base64.b64encode(file).decode()] for file in files]
    card = digest_of(tmp_path / CARD) or ""
    answer = host.answer(Ask(1, "predict", "model/shapes@1", str(tmp_path), rows, card))
    assert answer.fault is None
    chances = [row[0] for row in answer.outputs]
    assert min(chances[1::2]) > max(chances[::2])
    bad = host.answer(Ask(2, "predict", "model/shapes@1", str(tmp_path), [[base64.b64encode(b"hello").decode()]], card))
    assert bad.fault is not None
    assert bad.fault.code == "invalid"
    assert "no image" in bad.fault.message


def test_the_same_seed_gives_the_same_network(lake: Path, frame: pl.DataFrame) -> None:
    pytest.importorskip("torch")
    asked = task(algorithm="cnn", params={"epochs": 2})
    one, two = (fitted(lake, frame, asked)[0] for _ in range(2))
    assert one.members["model.onnx"] == two.members["model.onnx"]
    assert one.oof.to_json() == two.oof.to_json()


def test_nothing_is_learned_from_shuffled_labels(lake: Path, frame: pl.DataFrame) -> None:
    pytest.importorskip("torch")
    shuffled = frame.with_columns(pl.Series("label", np.random.default_rng(1).permutation(frame["label"].to_numpy())))
    found, _ = fitted(lake, shuffled, task(algorithm="cnn", params={"epochs": 10}))
    assert found.metrics["roc_auc"].low < 0.5 < found.metrics["roc_auc"].high + 0.1


def imported(folder: Path, trust: tuple[str, ...] = ()) -> tuple[Path, Examined]:
    """What an import makes of the network in a folder, and the directory of its files."""
    (one,) = find(folder).candidates
    out = folder.parent / f"{folder.name}-imported"
    return out, examine(ExamineOrder(candidate=one, folder=str(folder), out=str(out), trust=trust), quiet)


def put(folder: Path, members: Mapping[str, bytes]) -> Path:
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("first", [True, False])
def test_a_network_trained_elsewhere_makes_the_numbers(lake: Path, frame: pl.DataFrame, tmp_path: Path, first: bool) -> None:
    path = network(tmp_path / "edges.onnx", first=first)
    found, seen = fitted(lake, frame, task(algorithm="logistic", embed="model/edges@1"), imported(tmp_path)[0])
    assert seen.table.columns.frame.shape == (2 * COUNT, 24)
    assert found.members["embed.onnx"] == path.read_bytes()
    assert found.oof.rows[0] == "circles/0.png"
    images = Images.load(put(tmp_path / "model", found.members))
    assert images is not None
    np.testing.assert_array_equal(images.numbers(shape("circle", 0)), seen.table.columns.matrix(seen.table.columns.learn())[0])


def test_channels_first_and_last_say_the_same(tmp_path: Path) -> None:
    one, two = (
        Images.by(network(tmp_path / "embed.onnx", first=first)).scaled("imagenet").numbers(shape("circle", 1))
        for first in (True, False)
    )
    np.testing.assert_allclose(one, two, rtol=1e-5)


def test_a_network_that_takes_any_size_is_given_the_usual_one(tmp_path: Path) -> None:
    images = Images.by(network(tmp_path / "embed.onnx", side="side"))
    assert (images.plan.size, images.plan.scale) == (224, "unit")


def test_a_network_is_imported_for_trainings_and_answers_no_calls(tmp_path: Path) -> None:
    network(tmp_path / "edges.onnx")
    out, found = imported(tmp_path)
    assert set(found.members) == {"embed.onnx", base.IMAGES, CARD}
    assert found.signature.outputs[0].width == 24
    answer = Host().answer(Ask(1, "predict", "model/edges@1", str(out), [["AAAA"]], found.members[CARD]))
    assert answer.fault is not None
    assert "no runtime 'network'" in answer.fault.message


def test_a_program_under_another_name_is_not_executed(tmp_path: Path) -> None:
    folder = put(tmp_path / "models", {"net.skops": b"a program", "models.toml": b"[models.net]\nimage = 32\n"})
    with pytest.raises(TandemError) as refused:
        imported(folder)
    assert "PyTorch" not in refused.value.message


def test_a_network_that_says_something_else_than_before_is_not_asked(tmp_path: Path) -> None:
    network(tmp_path / "edges.onnx")
    out, _ = imported(tmp_path)
    plan = msgspec.json.decode((out / base.IMAGES).read_bytes())
    plan["proof"][3] += 0.01
    (out / base.IMAGES).write_bytes(msgspec.json.encode(plan))
    with pytest.raises(Broken, match="otherwise than where it was imported"):
        Images.load(out)


@pytest.mark.parametrize("exported", [True, False])
def test_a_program_of_pytorch_makes_the_numbers_where_it_is_trusted(
    lake: Path, frame: pl.DataFrame, tmp_path: Path, exported: bool
) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(5)
    layers = [torch.nn.Conv2d(3, 8, 5), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    module, folder = torch.nn.Sequential(*layers).eval(), tmp_path / "programs"
    folder.mkdir()
    if exported:
        torch.export.save(torch.export.export(module, (torch.zeros(1, 3, 32, 32),)), folder / "edges.pt2")
    else:
        zoo.traced(module, folder / "edges.pt", 1, 3, 32, 32)
        (folder / "models.toml").write_text("[models.edges]\nimage = 32\n")
    with pytest.raises(Forbidden, match="'torch'"):
        imported(folder)
    network, found = imported(folder, ("torch",))
    assert (found.framework, found.signature.outputs[0].width, found.trusted) == ("pytorch", 8, ("torch",))
    asked = task(algorithm="logistic", embed="model/edges@1")
    with pytest.raises(Forbidden, match="do not trust 'torch'"):
        see(asked, frame, lake / IMAGES, network, quiet)
    with torch.no_grad():
        pixels = array(opened(shape("circle", 0)), 32, 3).transpose(2, 0, 1)
        own = module(torch.from_numpy((pixels - MEANS[:, None, None]) / DEVIATIONS[:, None, None]).float()[None])[0].numpy()
    spec = Spec(lake=str(lake), table="shapes", version=0, task=asked, images=True, network=str(network), trust=("torch",))
    members = tmp_path / "model"
    made = train(spec, members)
    (name,) = {"embed.pt", "embed.pt2"} & made.members.keys()
    np.testing.assert_allclose(Images.load(members, ("torch",)).numbers(shape("circle", 0)), own, rtol=1e-5)  # type: ignore[union-attr]  # it has one
    card = made.members[CARD]
    question = Ask(1, "predict", "model/shapes@1", str(members), [[base64.b64encode(shape("circle", 0)).decode()]], card)
    assert Host(("torch",)).answer(question).fault is None
    for host, ask in ((Host(), question), (Host(("torch",)), msgspec.structs.replace(question, card=""))):
        fault = host.answer(ask).fault
        assert fault is not None
        assert fault.code in ("untrusted", "broken")
    (members / name).write_bytes((members / name).read_bytes() + b" ")
    fault = Host(("torch",)).answer(question).fault
    assert fault is not None
    assert "is not the one that was imported" in fault.message


def test_a_network_of_something_else_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "same",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    with pytest.raises(Invalid, match="no images") as caught:
        Images.by(put(tmp_path, {"embed.onnx": model.SerializeToString()}) / "embed.onnx")
    assert caught.value.field == "embed"


def test_the_baseline_is_a_logistic_regression_on_a_grey_thumbnail(lake: Path, frame: pl.DataFrame) -> None:
    found, seen = fitted(lake, frame, task(algorithm="cnn", baseline=True))
    assert found.algorithm == "logistic"
    assert seen.table.columns.frame.width == 256


def test_images_with_the_same_pixels_in_two_folds_are_told(lake: Path, frame: pl.DataFrame) -> None:
    again = pl.concat([frame, frame.head(2).with_columns((pl.lit("again/") + pl.col("file")).alias("file"))])
    asked = task(algorithm="logistic")
    assert "2 images have the same pixels" in see(asked, again, lake / IMAGES, None, quiet).warnings[0]
    assert see(task(algorithm="logistic", split="group", group="pixels"), again, lake / IMAGES, None, quiet).warnings == ()


def test_a_network_of_images_learns_from_no_table() -> None:
    pytest.importorskip("torch")
    learned = Examples(features=np.zeros((40, 5)), target=np.arange(40) % 2 == 0)
    with pytest.raises(Invalid, match="learns from images"):
        load("cnn").fit(learned, params=settings("cnn", load("cnn").params, {}), seed=1)


def test_tuning_of_images_is_refused(lake: Path, frame: pl.DataFrame) -> None:
    with pytest.raises(Invalid, match="Of images"):
        see(task(algorithm="logistic", tune=3), frame, lake / IMAGES, None, quiet)


def test_what_is_seen_does_not_depend_on_the_file_format(tmp_path: Path) -> None:
    images = Images.by(network(tmp_path / "embed.onnx"))
    np.testing.assert_array_equal(images.numbers(webp(shape("circle", 1))), images.numbers(shape("circle", 1)))
