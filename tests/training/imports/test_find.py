"""What in a folder is taken for a model, and what for its sample and script."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tandem.core.errors import Invalid
from tandem.jobs.apart import silent
from tandem.training.imports import unpack
from tandem.training.imports.find import find
from tandem.training.imports.unpack import Upload, carry_out


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def test_models_are_known_by_their_endings_or_first_bytes(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "Churn Model.pkl": "",
            "trees.txt": "tree\nversion=v4",
            "notes.txt": "no model",
            "boost.json": '{"learner": {}}',
            "other.json": '{"rows": []}',
            "net.pt2": "",
            "deep/graph.onnx": "",
            "own/model.py": "",
            "own/inner/not-seen.onnx": "",
            "tracked/MLmodel": "flavors: {python_function: {loader_module: x}}",
            ".hidden/x.onnx": "",
        },
    )
    assert {(one.name, one.form) for one in find(tmp_path).candidates} == {
        ("churn-model", "sklearn"),
        ("trees", "lightgbm"),
        ("boost", "xgboost"),
        ("net", "torch"),
        ("graph", "onnx"),
        ("own", "python"),
        ("tracked", "mlflow"),
    }


def test_a_directory_of_mlflow_is_read_by_the_file_of_its_flavor(tmp_path: Path) -> None:
    told = 'flavors: {lightgbm: {data: model.lgb}, python_function: {}}\nsignature: {inputs: \'[{"name": "age"}]\'}'
    write(tmp_path, {"m/MLmodel": told, "m/model.lgb": "tree\n"})
    (one,) = find(tmp_path).candidates
    assert (one.name, one.form, one.path, one.mlmodel, one.columns) == ("m", "lightgbm", "m/model.lgb", "m", ("age",))


def test_a_flavor_that_leads_out_of_its_directory_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, {"m/MLmodel": "flavors: {onnx: {data: ../secret.onnx}}", "secret.onnx": ""})
    assert {(one.name, one.form) for one in find(tmp_path).candidates} == {("m", "mlflow"), ("secret", "onnx")}


def test_samples_and_scripts_lie_beside_a_model(tmp_path: Path) -> None:
    write(tmp_path, {"a.pkl": "", "a.csv": "x\n1", "a.py": "", "b.onnx": "", "sample.parquet": "", "train.py": ""})
    first, second = find(tmp_path).candidates
    assert (first.sample, first.script) == ("a.csv", "a.py")
    assert (second.sample, second.script) == ("sample.parquet", "train.py")


def test_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, {"a.pkl": "", "a.onnx": "", "x/b.onnx": "", "y/b.onnx": ""})
    assert len({one.name for one in find(tmp_path).candidates}) == 4
    assert {"a-onnx", "a-sklearn"} < {one.name for one in find(tmp_path).candidates}


def test_the_plan_may_say_more_and_must_fit(tmp_path: Path) -> None:
    write(tmp_path, {"a.pkl": "", "rows.csv": "x\n1", "models.toml": '[models.a]\nsample = "rows.csv"\nclasses = ["no", "yes"]'})
    (one,) = find(tmp_path).candidates
    assert (one.sample, one.told.classes) == ("rows.csv", ("no", "yes"))
    for text, match in (
        ("[models.b]\nweight = 2", "no model has that name"),
        ("[models.a]\nclases = []", "unknown field"),
        ('[models.a]\nsample = "../x.csv"', "no file of the folder"),
        ("[models", "cannot be read"),
    ):
        (tmp_path / "models.toml").write_text(text)
        with pytest.raises(Invalid, match=match):
            find(tmp_path)


def test_strange_models_are_told_and_nothing_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a.onnx": "", "b.keras": ""})
    listing = find(tmp_path)
    assert [one.name for one in listing.candidates] == ["a"]
    assert "tf2onnx" in listing.left[0].reason
    (tmp_path / "c").mkdir()
    with pytest.raises(Invalid, match="no model that is known"):
        find(tmp_path / "c")


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for told, content in members:
            told.size = len(content)
            archive.addfile(told, io.BytesIO(content))
    return path


def link(name: str) -> tarfile.TarInfo:
    told = tarfile.TarInfo(name)
    told.type, told.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return told


@pytest.mark.parametrize("name", ["../out.onnx", "/tmp/out.onnx", "a/../../out.onnx", "a//b.onnx", "a\\b.onnx", "c:x.onnx"])
def test_no_path_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    archive = tar(tmp_path / "up.tar", (tarfile.TarInfo(name), b"x"))
    with pytest.raises(Invalid):
        carry_out(Upload(tar=str(archive), folder=str(tmp_path / "in" / "folder")), silent)
    assert not list(tmp_path.rglob("*.onnx"))


def test_links_broken_tars_and_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = Upload(tar=str(tmp_path / "up.tar"), folder=str(tmp_path / "folder"))
    tar(tmp_path / "up.tar", (link("a.onnx"), b""))
    with pytest.raises(Invalid, match="no plain file"):
        carry_out(order, silent)
    (tmp_path / "up.tar").write_bytes(b"PK\x03\x04 this is a zip")
    with pytest.raises(Invalid, match="no whole tar"):
        carry_out(order, silent)
    monkeypatch.setattr(unpack, "BYTES", 10)
    tar(tmp_path / "up.tar", (tarfile.TarInfo("a.onnx"), b"x" * 11))
    with pytest.raises(Invalid, match="more than"):
        carry_out(order, silent)
