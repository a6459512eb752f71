"""A blob is whole or absent, and is what its name says."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Broken, Conflict, Invalid
from tandem.store.blobs import Blobs, check_member, check_members, digest_of


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_bytes_and_a_file_of_the_same_content_are_one_blob(blobs: Blobs, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"abc" * 1_000_000)
    digest = blobs.put(source)
    assert digest == blobs.put(b"abc" * 1_000_000) == "sha256:" + hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    assert blobs.read(digest) == source.read_bytes()
    assert files(tmp_path / "blobs") == [f"sha256/{digest[7:9]}/{digest[9:]}"]


def test_a_kept_file_cannot_be_written_to_by_its_mode(blobs: Blobs) -> None:
    assert blobs.path(blobs.put(b"abc")).stat().st_mode & 0o777 == 0o444


def test_a_changed_blob_is_noticed_named_and_healed_by_putting_it_again(blobs: Blobs) -> None:
    digest = blobs.put(b"abc")
    path = blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"abd")
    with pytest.raises(Broken, match=str(path)):
        blobs.read(digest)
    blobs.put(b"abc")
    assert blobs.read(digest) == b"abc"


def test_a_lost_blob_is_named(blobs: Blobs) -> None:
    digest = blobs.put(b"abc")
    blobs.path(digest).unlink()
    with pytest.raises(Broken, match="missing"):
        blobs.read(digest)


def test_a_source_that_cannot_be_read_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    for source in (tmp_path / "absent", tmp_path):
        with pytest.raises(Invalid, match="cannot be read"):
            blobs.put(source)
    assert files(tmp_path / "blobs") == []


@pytest.mark.parametrize("digest", ["", "abc", "sha256:", "sha256:" + "g" * 64, "sha256:../../etc/passwd", "sha256:" + "A" * 64])
def test_only_digests_name_blobs(blobs: Blobs, digest: str) -> None:
    with pytest.raises(Invalid):
        blobs.read(digest)


def test_members_become_files_of_a_directory(blobs: Blobs, tmp_path: Path) -> None:
    members = {"model.onnx": blobs.put(b"weights"), "data/part-0.csv": blobs.put(b"a,b")}
    target = blobs.materialise(members, tmp_path / "model")
    assert files(target) == ["data/part-0.csv", "model.onnx"]
    assert (target / "data/part-0.csv").read_bytes() == b"a,b"
    assert blobs.materialise(members, target) == target
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_materialise_makes_all_or_nothing(blobs: Blobs, tmp_path: Path) -> None:
    good, lost, damaged = blobs.put(b"good"), blobs.put(b"lost"), blobs.put(b"damaged")
    blobs.path(lost).unlink()
    blobs.path(damaged).chmod(0o644)
    blobs.path(damaged).write_bytes(b"DAMAGED")
    for bad in (lost, damaged):
        with pytest.raises(Broken, match=str(blobs.path(bad))):
            blobs.materialise({"a": good, "b": bad}, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs"]


def test_a_directory_that_holds_something_else_is_left_alone(blobs: Blobs, tmp_path: Path) -> None:
    target = blobs.materialise({"a": blobs.put(b"one")}, tmp_path / "model")
    with pytest.raises(Conflict):
        blobs.materialise({"a": blobs.put(b"two")}, target)
    with pytest.raises(Conflict):
        blobs.materialise({"a": blobs.put(b"one"), "b": blobs.put(b"two")}, target)
    assert (target / "a").read_bytes() == b"one"


def test_sweep_deletes_what_nobody_needs_and_spares_the_young(blobs: Blobs, tmp_path: Path) -> None:
    live, orphan, young = blobs.put(b"live"), blobs.put(b"orphan"), blobs.put(b"young")
    leftover = tmp_path / "blobs" / "tmp" / "half"
    leftover.write_bytes(b"half a blob")
    for path in (blobs.path(live), blobs.path(orphan), leftover):
        os.utime(path, (1_000_000, 1_000_000))
    assert blobs.sweep({live}) == (orphan,)
    assert not leftover.exists()
    assert blobs.read(live) == b"live"
    assert blobs.read(young) == b"young"


def test_putting_again_makes_an_orphan_young(blobs: Blobs) -> None:
    digest = blobs.put(b"orphan")
    os.utime(blobs.path(digest), (1_000_000, 1_000_000))
    blobs.put(b"orphan")
    assert blobs.sweep(set()) == ()


@pytest.mark.parametrize(
    "name", ["", "/", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a\\b", "a\0b", "a\nb", "C:x", "x" * 256]
)
def test_a_member_cannot_lead_out(blobs: Blobs, tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid):
        blobs.materialise({name: blobs.put(b"x")}, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_member_cannot_be_the_directory_of_another() -> None:
    with pytest.raises(Invalid, match="both a file and the directory"):
        check_members({"a/b": "", "a": ""})


@given(st.text(max_size=40))
def test_a_member_that_is_accepted_stays_inside(name: str) -> None:
    try:
        check_member(name)
    except Invalid:
        return
    root = Path("/nowhere/of/all")
    assert Path(os.path.normpath(root / name)) == root / name
    assert (root / name).is_relative_to(root)
    assert root / name != root


@given(st.binary(max_size=200))
def test_digests_are_sha256(data: bytes) -> None:
    assert digest_of(data) == "sha256:" + hashlib.sha256(data).hexdigest()
