"""Datasets of images: rows that say what each image is, files kept once, and archives that mean harm."""

from __future__ import annotations

import json
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from PIL import Image
from tests.pictures import packed, shape, shapes

from tandem.core.errors import Invalid
from tandem.data import archive as archives
from tandem.data import images, pixels
from tandem.data.child import Done, Held, Order, carry_out
from tandem.data.contract import Contract
from tandem.store.lake import IMAGES, Lake


@dataclass
class Yard:
    home: Path

    def add(self, files: dict[str, bytes], **order: object) -> Done:
        folder = Path(self.home, f"work-{len(list(self.home.iterdir()))}")
        folder.mkdir()
        return carry_out(self.order(packed(folder / "pets.zip", files), **order))

    def order(self, path: Path, **order: object) -> Order:
        return Order(path=str(path), lake=str(self.home / "lake"), table="pets", **order)  # type: ignore[arg-type]

    def kept(self) -> list[Path]:
        return [path for path in Path(self.home, "lake", IMAGES).rglob("*") if path.is_file()]


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds next to nothing."""
    parts = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"\0" * 100), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts
    )


def test_a_row_per_image_says_what_it_is_and_its_folder_is_its_label(yard: Yard) -> None:
    done = yard.add({"circles/1.png": shape("circle", 1, size=40), "squares/deep/2.jpg": shape("square", 2, format="JPEG")})
    rows = Lake(yard.home / "lake").read("pets", done.version)
    assert rows.columns == ["file", "label", *pixels.FACTS]
    assert rows["file"].to_list() == ["circles/1.png", "squares/deep/2.jpg"]
    assert rows["label"].to_list() == ["circles", "deep"]
    assert rows["width"].to_list() == [40, 32]
    assert done.contract.id_column == "file"
    assert {path.read_bytes() for path in yard.kept()} == {shape("circle", 1, size=40), shape("square", 2, format="JPEG")}
    with Image.open(str(done.sheet)) as sheet:
        assert sheet.size[1] > images.THUMBNAIL


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_each_format_is_read(format: str) -> None:
    assert pixels.facts(shape("circle", 1, format=format))["width"] == 32


def test_a_folder_that_was_packed_whole_is_no_label(yard: Yard) -> None:
    files = {f"pets/{name}": content for name, content in shapes(2).items()} | {"__MACOSX/pets/._1.png": b"x", ".DS_Store": b"x"}
    done = yard.add(files)
    assert sorted(set(Lake(yard.home / "lake").read("pets", done.version)["label"])) == ["circles", "squares"]


def test_labels_csv_says_labels_and_more(yard: Yard) -> None:
    table = b"file,label,age\na.png,round,3\nb.png,square,4\n"
    done = yard.add({"a.png": shape("circle", 1), "b.png": shape("square", 2), "labels.csv": table})
    rows = Lake(yard.home / "lake").read("pets", done.version)
    assert rows.columns == ["file", "label", *pixels.FACTS, "age"]
    assert rows["age"].to_list() == [3, 4]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (b"file,label\nc.png,round\n", "not there"),
        (b"name,label\na.png,round\n", "no column 'file'"),
        (b"file,width\na.png,3\n", "'width'"),
        (b"file,label\na.png,x\na.png,y\n", "twice"),
    ],
)
def test_labels_that_do_not_fit_are_refused(yard: Yard, table: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        yard.add({"a.png": shape("circle", 1), "labels.csv": table})


def test_the_same_pixels_are_told_and_the_same_file_is_kept_once(yard: Yard) -> None:
    again = BytesIO()
    Image.open(BytesIO(shape("circle", 1))).save(again, "PNG", compress_level=1)
    done = yard.add({"a/1.png": shape("circle", 1), "a/2.png": shape("circle", 1), "a/3.png": again.getvalue()})
    assert done.duplicates == 2
    assert len(yard.kept()) == 2


def test_images_are_added_to_others_and_none_is_kept_twice(yard: Yard) -> None:
    one = yard.add(shapes(3))
    base = Held(ref="dataset/pets@1", table="pets", version=one.version, run="run_1")
    more = shapes(3) | {"circles/new.png": shape("circle", 99, size=64)}
    two = yard.add(more, contract=one.contract, base=base, run="run_2")
    assert (two.rows, two.added, two.repeated) == (7, 1, 6)
    assert len(yard.kept()) == 7


def test_broken_images_are_refused_with_the_reason_and_nothing_is_kept(yard: Yard) -> None:
    whole = shape("circle", 1, format="JPEG", size=64)
    with pytest.raises(Invalid, match=r"circles/cut\.jpg.*no image that can be read") as caught:
        yard.add({**shapes(2), "circles/cut.jpg": whole[: len(whole) // 2], "circles/text.png": b"hello"})
    assert "2 problems" in str(caught.value)
    assert yard.kept() == []


def test_a_contract_can_quarantine_broken_images(yard: Yard) -> None:
    contract = json.loads(yard.add(shapes(10)).contract.to_json())
    contract["columns"][0]["severity"] = "quarantine"
    contract["quarantine_share"] = 0.2
    rules = Contract.from_json(json.dumps(contract).encode())
    done = yard.add({**shapes(10), "circles/bad.png": b"hello"}, contract=rules)
    assert (done.rows, done.quarantined, done.hits[0].count) == (20, 1, 1)
    apart = pl.read_parquet(str(done.quarantine))
    assert apart["file"].to_list() == ["circles/bad.png"]
    assert "no image" in apart["_reasons"][0]
    with pytest.raises(Invalid, match="at most 20% may be kept apart"):
        yard.add({**shapes(2), "circles/bad.png": b"hello", "circles/worse.png": b"hello"}, contract=rules)


def test_an_image_that_says_it_is_huge_is_never_unpacked() -> None:
    with pytest.raises(Invalid, match="9000 x 9000 pixels"):
        pixels.opened(png_of(9_000, 9_000))
    for side in (12_000, 60_000):
        with pytest.raises(Invalid, match="pixels"):
            pixels.opened(png_of(side, side))
    with pytest.raises(Invalid, match="bytes"):
        pixels.opened(b"\0" * (pixels.BYTES + 1))


def test_another_format_is_no_image() -> None:
    out = BytesIO()
    Image.new("RGB", (4, 4)).save(out, "TIFF")
    with pytest.raises(Invalid, match="no image"):
        pixels.opened(out.getvalue())


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "a\\out.png"])
def test_a_name_that_leaves_the_archive_is_refused(yard: Yard, name: str) -> None:
    with pytest.raises(Invalid, match="cannot name a file"):
        yard.add({name: shape("circle", 1)})


def test_a_link_in_a_tar_is_refused(yard: Yard) -> None:
    path = yard.home / "pets.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("circles/1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(Invalid, match="holds a link"):
        carry_out(yard.order(path))


def test_a_bomb_is_read_no_further_than_it_may_be(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "UNPACKED", 1 << 20)
    path = yard.home / "pets.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("circles/1.png", b"\0" * (50 << 20))
    with pytest.raises(Invalid, match="holds more than"):
        carry_out(yard.order(path))


def test_more_files_than_may_be_are_refused(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST", 3)
    with pytest.raises(Invalid, match="4 files; 3 are read"):
        yard.add(shapes(2))


@pytest.mark.parametrize("name", ["pets.zip", "pets.tar"])
@pytest.mark.parametrize("content", [b"PK\x03\x04 no zip", b"x" * 1024])
def test_what_is_no_archive_is_refused(yard: Yard, content: bytes, name: str) -> None:
    path = yard.home / name
    path.write_bytes(content)
    with pytest.raises(Invalid, match="cannot be unpacked"):
        carry_out(yard.order(path))
