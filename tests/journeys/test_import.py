"""A folder of models of other frameworks: one command makes endpoints and a decision of it; what is not trusted stays shut."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import polars as pl
import pytest

from bench import zoo
from tandem_sdk import Asked, Client, Fair, TandemError
from tests.journeys.conftest import ADMIN, Platform, bearer, platform, until

pytestmark = pytest.mark.journey
ROWS = 20
CLOSE = 1e-6


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that trusts pickles and Python."""
    with platform(tmp_path_factory.mktemp("import")) as running:
        running.down()
        with (running.home / "tandem.toml").open("a") as settings:
            settings.write('\n[serving]\ntrust = ["pickle", "python"]\n')
        running.up()
        yield running


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The eight models, and what their frameworks say of the rows: name → answers."""
    folder = tmp_path_factory.mktemp("models") / "team"
    folder.mkdir()
    return folder, {make.__defaults__[0]: np.asarray(make(folder))[:ROWS] for make in zoo.EIGHT}


@pytest.fixture(scope="module")
def said(house: Platform, own: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    """What the one command says."""
    told = command(house, str(own[0]), "--trust", "pickle", "--trust", "python", "--decision", "risk")
    assert told.returncode == 0, told.stderr + told.stdout
    return dict(json.loads(told.stdout))


def command(house: Platform, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": ADMIN}
    line = [sys.executable, "-m", "tandem", "import", *words, "--json"]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)


def cases(names: Sequence[str]) -> list[dict[str, float | str]]:
    return zoo.cases(names)[:ROWS]


def infer(house: Platform, name: str, rows: list[dict[str, Any]]) -> httpx2.Response:
    return httpx2.post(f"{house.url}/v2/models/{name}/infer", json={"rows": rows}, headers=bearer(ADMIN), timeout=60)


def answers(reply: httpx2.Response) -> np.ndarray[Any, Any]:
    assert reply.status_code == 200, reply.text
    first = reply.json()["outputs"][0]
    return np.array(first["data"]).reshape(first["shape"][0], -1)


def test_every_model_answers_as_its_own_framework_does(
    house: Platform, own: tuple[Path, dict[str, Any]], said: dict[str, Any]
) -> None:
    assert said["failed"] == 0
    assert {one["framework"] for one in said["models"]} == {"scikit-learn", "xgboost", "lightgbm", "onnx", "python"}
    for one in said["models"]:
        meta = house.api("GET", f"/assets/model/{one['name']}/1")["meta"]
        names = [field["name"] for field in meta["signature"]["fields"]]
        until(lambda one=one, names=names: infer(house, one["name"], cases(names)).status_code == 200, one["name"])
        told, theirs = answers(infer(house, one["name"], cases(names))), own[1][one["name"]].reshape(ROWS, -1)
        theirs = theirs[:, 1:] if theirs.shape[1] == 2 else theirs
        assert (np.abs(told - theirs) / np.maximum(1, np.abs(theirs))).max() <= CLOSE, one["name"]
        assert one["largest"] <= CLOSE


def test_the_decision_asks_all_of_them_and_leads_back_to_them(house: Platform, said: dict[str, Any]) -> None:
    schema = house.api("GET", "/assets/decision/risk/1")["meta"]["input"]
    names = list(next(iter(schema["$defs"].values()))["properties"])
    reply = httpx2.post(f"{house.url}/v1/decide/risk", json=cases(names)[0], headers=bearer(ADMIN), timeout=60)
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert set(told["answers"]) == {one["name"] for one in said["models"]}
    same = [told["answers"][name]["probability"] for name in ("boosted", "graph", "pipeline")]
    assert told["mean"] == pytest.approx(sum(same) / 3)
    for name, answer in told["answers"].items():
        assert answer["model"] == f"model/{name}@1"
    parents = house.api("GET", "/assets/decision/risk/1")["parents"]
    assert set(parents) == {one["ref"] for one in said["models"]}
    identifier = reply.headers["x-tandem-trace-id"]
    until(lambda: any(row["trace"] == identifier for row in house.api("GET", "/traces")))
    calls = house.api("GET", f"/traces/{identifier}")["calls"]
    assert len([call for call in calls if call["kind"] == "predict"]) == len(said["models"])


def test_the_same_folder_again_makes_no_new_version(
    house: Platform, own: tuple[Path, dict[str, Any]], said: dict[str, Any]
) -> None:
    told = command(house, str(own[0]), "--trust", "pickle", "--trust", "python", "--decision", "risk")
    again = json.loads(told.stdout)
    assert [one["ref"] for one in again["models"]] == [one["ref"] for one in said["models"]]
    assert again["decision"] == said["decision"] == "decision/risk@1"


def test_the_audit_says_what_was_trusted_and_the_asset_what_it_is_made_of(house: Platform, said: dict[str, Any]) -> None:
    (row,) = [row for row in house.api("GET", "/audit?limit=500") if row["subject"] == f"run/{said['run']}"][:1]
    assert row["action"] == "model.import"
    assert row["detail"]["trusted"] == ["pickle", "python"]
    version = house.api("GET", "/assets/model/boosted/1")
    assert version["meta"]["source"]["path"] == "boosted.json"
    assert version["meta"]["origin"] == "imported"
    assert "script/boosted.py" in version["members"]


def test_what_executes_is_not_opened_without_trust(house: Platform, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "written",))

    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "bad.pkl").write_bytes(pickle.dumps(Hostile()))
    zoo.lightgbm_text(folder, "fine")
    told = command(house, str(folder))
    assert told.returncode == 1
    outcome = json.loads(told.stdout)
    assert not (tmp_path / "written").exists()
    by_path = {one["path"]: one for one in outcome["models"]}
    assert "--trust pickle" in by_path["bad.pkl"]["hint"]
    assert by_path["fine.txt"]["ref"] == "model/fine@1"
    refused = command(house, str(folder), "--trust", "torch")
    assert refused.returncode == 1
    assert 'trust = ["torch"]' in refused.stderr + refused.stdout


def test_a_second_version_must_prove_itself(house: Platform, said: dict[str, Any], tmp_path: Path) -> None:
    """The first one has no champion to harm; the next one is judged by the gate as any other model is."""
    folder = tmp_path / "second"
    folder.mkdir()
    zoo.lightgbm_text(folder)
    (folder / "light.txt").write_text((folder / "light.txt").read_text().replace("leaf_value=", "leaf_value=", 1))
    shutil.move(folder / "light.csv", folder / "other.csv")
    (folder / "models.toml").write_text('[models.light]\nsample = "other.csv"\nthreshold = 0.25\n')
    told = json.loads(command(house, str(folder), "--promote", "production").stdout)
    (one,) = told["models"]
    assert one["ref"] == "model/light@2"
    assert one["promoted"] == ""
    assert "nothing its gate could judge" in one["reason"]


def test_a_trust_that_is_withdrawn_stops_the_model(house: Platform, said: dict[str, Any]) -> None:
    settings = house.home / "tandem.toml"
    before = settings.read_text()
    house.down()
    settings.write_text(before.replace('"pickle", ', ""))
    house.up()
    try:
        reply = infer(house, "pipeline", cases(["amount", "region"]))
        assert reply.status_code == 403
        assert "pickle" in reply.text
        assert infer(house, "own", cases(["amount", "age"])).status_code == 200
        assert infer(house, "linear", cases(list(zoo.COLUMNS))).status_code == 200  # it was converted, so nothing is executed
    finally:
        house.down()
        settings.write_text(before)
        house.up()


def test_an_imported_model_is_told_of_by_rows_that_it_had_not_seen(house: Platform, tmp_path: Path) -> None:
    """It does worse for the old, of whom there are more in one group; a gate on groups judges it as one that was trained here."""
    import lightgbm

    draw = np.random.default_rng(5)

    def loans(rows: int) -> pl.DataFrame:
        amount, age = draw.normal(size=rows), draw.integers(20, 80, rows)
        late = amount + draw.normal(size=rows) * np.where(age >= 60, 3.0, 0.2) > 0
        kin = np.where(draw.random(rows) < np.where(age >= 60, 0.9, 0.1), "a", "b")
        return pl.DataFrame({"amount": amount, "age": age, "kin": kin, "late": late.astype(int)})

    past = loans(600)
    for name, frame in (("loans", past), ("loans-later", loans(2_000))):
        house.api("POST", f"/datasets/{name}?format=csv", content=frame.write_csv().encode())
    (tmp_path / "models").mkdir()
    data = lightgbm.Dataset(
        past.select("amount", "age").to_numpy().astype(float), past["late"].to_numpy(), feature_name=["amount", "age"]
    )
    lightgbm.train({"objective": "binary", "verbosity": -1}, data, 20).save_model(tmp_path / "models" / "lender.txt")
    told = 'dataset = "dataset/loans"\ntarget = "late"\nclasses = ["0", "1"]\n'
    (tmp_path / "models" / "models.toml").write_text(f"[models.lender]\n{told}")
    assert command(house, str(tmp_path / "models")).returncode == 0
    with Client(house.url, ADMIN) as tandem:
        before = tandem.assets.about("model/lender@1")
        assert (before.slices, before.fairness, before.importance) == (None, (), None)
        tandem.gates.evidence("model/lender@1", "dataset/loans-later", fairness=["kin"])
        about = tandem.assets.about("model/lender@1")
        assert about.slices is not None
        assert any("age" in weak.name for weak in about.slices.found)
        assert about.importance is not None
        assert about.importance.features[0].name == "amount"
        assert about.importance.explained
        assert about.importance.shuffled
        (fair,) = about.fairness
        assert {group.name for group in fair.groups} == {"a", "b"}
        assert not fair.learned
        asked = Asked(fairness=[Fair(measure="accuracy", by="kin", bound=0.05)])
        tandem.gates.set("model/lender", metric="roc_auc", margin=0.5, asked=asked)
        (condition,) = [each for each in tandem.gates.check("model/lender@1").conditions if each.kind == "fairness"]
        assert condition.outcome == "missed"
        card = tandem.assets.card_text("model/lender@1")
        assert "kin: accuracy" in card
        assert "Nobody searched for parts" not in card
        with pytest.raises(TandemError, match="no column 'kind'"):
            tandem.gates.evidence("model/lender@1", "dataset/loans-later", fairness=["kind"])
    with httpx2.Client(base_url=house.url, timeout=30) as browser:
        browser.post("/console/sign-in", data={"key": ADMIN}, headers={"Sec-Fetch-Site": "same-origin"})
        page = browser.get("/assets/model/lender/1").text
    assert "kin" in page
