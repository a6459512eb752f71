"""A version is whole, immutable, numbered without gaps, and the same content twice is one."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem.core.asset import Ref
from tandem.core.errors import Broken, Conflict, Forbidden, Invalid, NotFound
from tandem.governance.authorise import ALL, Scope, scope_of
from tandem.registry import manifest
from tests.registry.conftest import House, house, person


def test_the_first_version_holds_what_it_was_given(here: House) -> None:
    dataset = here.dataset()
    model = here.registry.publish(
        "model",
        "tumor",
        members={"model.onnx": b"weights", "oof.json": b"[]"},
        meta={"signature": {"inputs": ["a"]}, "metrics": {"roc_auc": 0.99}},
        parents=("dataset/rows",),
        run="run_1",
        by=person("editor"),
    )
    found = here.registry.find(Ref.parse("model/tumor@1"), Scope("risk"))
    assert found == model
    assert (model.version, model.team, model.created_by, model.run) == (1, "risk", "risk-editor", "run_1")
    assert model.parents == (str(dataset.ref),) == ("dataset/rows@1",)
    assert here.registry.member(model, "model.onnx") == b"weights"
    assert [(entry.action, entry.subject) for entry in here.audit.list(ALL)] == [
        ("asset.publish", "model/tumor@1"),
        ("asset.publish", "dataset/rows@1"),
    ]


def test_a_path_is_published_as_its_content(here: House, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"w1")
    first = here.model(weights=b"w1")
    again = here.registry.publish(
        "model",
        "tumor",
        members={"model.onnx": tmp_path / "model.onnx"},
        meta=dict(first.meta),
        parents=first.parents,
        by=person("editor"),
    )
    assert again == first


def test_the_same_content_is_the_newest_version_and_nothing_is_written(here: House) -> None:
    first = here.model()
    before = (here.registry.snapshot_version(), len(here.audit.list(ALL)))
    assert here.model() == first
    assert (here.registry.snapshot_version(), len(here.audit.list(ALL))) == before


def test_older_content_is_a_new_version(here: House) -> None:
    digests = [here.model(weights=weights).digest for weights in (b"w1", b"w2", b"w1")]
    assert [version.version for version in here.registry.versions("model", "tumor", ALL)] == [3, 2, 1]
    assert digests[0] == digests[2] != digests[1]


def test_measurements_and_times_make_no_version_but_the_signature_does(here: House) -> None:
    first = here.model()

    def again(meta: dict[str, object]) -> int:
        return here.registry.publish(
            "model", "tumor", members={"model.onnx": b"w1"}, meta=meta, parents=first.parents, by=person("editor")
        ).version

    assert again({"signature": {"inputs": ["a"]}, "metrics": {"roc_auc": 0.5}, "created_at": 9, "run": "run_9"}) == 1
    assert again({"signature": {"inputs": ["b"]}, "metrics": {"roc_auc": 0.5}}) == 2


def test_a_version_does_not_change_with_what_the_caller_kept(here: House) -> None:
    meta: dict[str, object] = {"contract": {"columns": ["a"]}}
    version = here.registry.publish("dataset", "rows", members={"a": b"x"}, meta=meta, by=person("editor"))
    meta["contract"] = {"columns": ["z"]}
    assert version.meta == here.registry.find(version.ref, ALL).meta == {"contract": {"columns": ["a"]}}


@pytest.mark.parametrize("parent", ["dataset/ghost", "dataset/rows@2", "dataset/rows@production"])
def test_a_parent_must_exist_and_nothing_is_published_without(here: House, parent: str) -> None:
    here.dataset()
    with pytest.raises(NotFound):
        here.registry.publish(
            "model", "tumor", members={"m": b"w"}, meta={"signature": {"x": 1}}, parents=(parent,), by=person("editor")
        )
    assert here.registry.assets("model", ALL) == ()


def test_a_parent_of_another_team_does_not_exist(here: House) -> None:
    here.dataset(by=person("editor", "sales"))
    with pytest.raises(NotFound):
        here.registry.publish(
            "model", "tumor", members={"m": b"w"}, meta={"signature": {"x": 1}}, parents=("dataset/rows",), by=person("editor")
        )


def test_a_parent_is_named_once(here: House) -> None:
    here.dataset()
    with pytest.raises(Invalid, match="twice"):
        here.registry.publish(
            "dataset",
            "joined",
            members={"m": b"w"},
            meta={"schema": {"x": 1}},
            parents=("dataset/rows", "dataset/rows@1"),
            by=person("editor"),
        )


def test_a_name_belongs_to_the_team_that_took_it(here: House) -> None:
    here.dataset()
    with pytest.raises(Conflict, match="another team"):
        here.dataset(data=b"x", by=person("editor", "sales"))
    assert here.dataset(data=b"x", by=person("admin", "sales")).team == "risk"


def test_another_team_finds_nothing(here: House) -> None:
    version = here.model()
    stranger = scope_of(person("editor", "sales"))
    for act in (
        lambda: here.registry.find(version.ref, stranger),
        lambda: here.registry.aliases("model", "tumor", stranger),
        lambda: here.registry.moves("model", "tumor", "production", stranger),
        lambda: here.registry.scores(version.ref, stranger),
        lambda: here.registry.lineage(version.ref, 3, stranger),
    ):
        with pytest.raises(NotFound):
            act()
    assert here.registry.assets(None, stranger) == here.registry.versions("model", "tumor", stranger) == ()
    assert len(here.registry.assets(None, scope_of(person("auditor", "sales")))) == 2


@pytest.mark.parametrize("role", ["viewer", "auditor"])
def test_who_may_not_write_publishes_nothing(here: House, role: str) -> None:
    with pytest.raises(Forbidden):
        here.dataset(by=person(role))  # type: ignore[arg-type]
    assert not (here.home / "blobs").exists()


@pytest.mark.parametrize(
    ("kind", "name", "members"), [("dataset", "../x", {}), ("release", "x", {}), ("dataset", "x", {"../../etc/passwd": b""})]
)
def test_names_that_lead_out_are_refused(here: House, kind: str, name: str, members: dict[str, bytes]) -> None:
    with pytest.raises(Invalid):
        here.registry.publish(kind, name, members=members, meta={"schema": {"a": 1}}, by=person("editor"))  # type: ignore[arg-type]


def test_a_file_that_changed_on_disk_is_not_handed_out(here: House) -> None:
    version = here.model()
    path = here.blobs.path(version.members["model.onnx"])
    path.chmod(0o644)
    path.write_bytes(b"poison")
    with pytest.raises(Broken, match=str(path)):
        here.registry.member(version, "model.onnx")


def test_a_member_that_is_not_there_is_told(here: House) -> None:
    with pytest.raises(NotFound, match="model\\.onnx"):
        here.registry.member(here.model(), "weights.bin")


def test_what_is_not_found_says_what_there_is(here: House) -> None:
    here.model()
    for text, said in (
        ("model/tumor@7", "newest version is 1"),
        ("model/tumor@production", "no aliases"),
        ("model/ghost", "list"),
    ):
        with pytest.raises(NotFound) as caught:
            here.registry.find(Ref.parse(text), ALL)
        assert said in str(caught.value)


def test_a_change_of_the_registry_is_seen_by_the_compiler(here: House) -> None:
    seen = [here.registry.snapshot_version()]
    here.dataset()
    seen.append(here.registry.snapshot_version())
    here.prompt()
    seen.append(here.registry.snapshot_version())
    assert seen == [0, 1, 2]


def test_eight_at_once_lose_and_double_no_version(here: House) -> None:
    here.dataset()
    made: list[int] = []

    def work(number: int) -> None:
        for step in range(5):
            made.append(here.model(weights=f"{number}-{step}".encode()).version)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(1, 41))
    assert [version.version for version in here.registry.versions("model", "tumor", ALL)] == list(range(40, 0, -1))
    assert here.audit.verify().ok


def test_eight_that_publish_the_same_make_one(here: House) -> None:
    here.dataset()
    made: list[int] = []
    threads = [threading.Thread(target=lambda: made.append(here.model().version)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1] * 8


DYING = """
import os, signal, sys
from pathlib import Path
from tandem.governance.audit import Audit
from tests.registry.conftest import house, person
from tandem.registry.registry import Registry

class Dying(Audit):
    def append(self, conn, **entry):
        os.kill(os.getpid(), signal.SIGKILL)

from tandem.store.vault import Vault
here = house(Path(sys.argv[1]))
audit = Dying(here.sql, Vault(bytes(32)), here.clock, here.home / "audit.head")
Registry(here.sql, here.blobs, audit, here.clock).publish(
    "dataset", "rows", members={"data.csv": b"a,b"}, meta={"contract": {"columns": ["a"]}}, by=person("editor"))
"""


def test_a_process_killed_while_it_publishes_leaves_only_an_orphan_file(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], env={"PYTHONPATH": ":".join(sys.path)}, check=False)
    assert died.returncode == -signal.SIGKILL
    here = house(tmp_path)
    assert here.registry.assets(None, ALL) == ()
    assert here.audit.verify().count == 0
    assert len(here.registry.sweep(grace=-1)) == 1
    assert here.dataset().version == 1
    assert here.registry.sweep(grace=-1) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=5,
)
METAS = st.dictionaries(st.sampled_from(["x", "y", "created_at", "run", "profile"]), JSON, max_size=4)
FILES = st.dictionaries(st.sampled_from(["a", "b", "c/d"]), st.binary(max_size=3), min_size=1, max_size=3)


@given(METAS, FILES, st.randoms(use_true_random=False))
def test_the_manifest_ignores_order_and_what_is_aside(meta: dict[str, object], files: dict[str, bytes], random: object) -> None:
    members = {name: f"sha256:{data.hex():0>64}" for name, data in files.items()}
    shuffled, turned = list(meta.items()), list(members.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    random.shuffle(turned)  # type: ignore[attr-defined]
    assert manifest.digest("dataset", members, meta) == manifest.digest("dataset", dict(turned), dict(shuffled))
    counted = {key: value for key, value in meta.items() if key in ("x", "y")}
    assert manifest.digest("dataset", members, meta) == manifest.digest("dataset", members, counted)
    assert manifest.digest("dataset", members, meta) != manifest.digest("dataset", members, {**counted, "z": 1})
    assert manifest.digest("dataset", members, meta) != manifest.digest("dataset", {**members, "e": "sha256:0"}, meta)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(st.tuples(FILES, METAS), min_size=1, max_size=5))
def test_publishing_is_idempotent_against_the_newest(
    here: House, contents: list[tuple[dict[str, bytes], dict[str, object]]]
) -> None:
    for files, meta in contents:
        told = {**meta, "schema": ["a"]}
        before = here.registry.versions("dataset", "any", ALL)
        one = here.registry.publish("dataset", "any", members=files, meta=told, by=person("editor"))
        two = here.registry.publish("dataset", "any", members=files, meta=told, by=person("editor"))
        assert one == two == here.registry.find(Ref.parse("dataset/any"), ALL)
        same = bool(before) and before[0].digest == one.digest
        assert one.version == len(before) + (0 if same else 1)


def test_the_database_keeps_no_version_without_its_asset(here: House) -> None:
    here.dataset()
    db = sqlite3.connect(here.home / "control.db")
    db.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("DELETE FROM assets")
    db.close()
