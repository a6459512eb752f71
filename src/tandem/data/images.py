"""An archive of images becomes a table with a row per image, and files by digest. Judges no contract.

The label is the folder that an image lies in; or a `labels.csv` says it, with further columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from PIL import Image, ImageDraw

from tandem.core.errors import Invalid
from tandem.data.archive import FILE, LABEL, LABELS, labelled, labels_of, members
from tandem.data.ingest import Ingested, Reading, ingest
from tandem.data.pixels import BYTES, FACTS, facts, opened
from tandem.data.problems import Hit, Problem, Problems, quote
from tandem.jobs.apart import Progress
from tandem.store.blobs import Blobs

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif")
THUMBNAIL, ACROSS, CLASSES = 64, 10, 12
"""Side of a thumbnail in pixels, thumbnails of one class, and classes of a sheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """An archive, read."""

    rows: pl.DataFrame
    """`file`, `label` where one is known, what `pixels.facts` says, and the further columns of `labels.csv`."""
    broken: pl.DataFrame
    """`file`, `label` where one is known, and `reason`: those that are no images."""
    folder: Path
    """In which each image lies under its digest."""
    source: str
    """What messages call the archive."""

    @property
    def duplicates(self) -> int:
        """Images with the same pixels as one before them."""
        return self.rows.height - self.rows["pixels"].n_unique()


def gather(path: Path, progress: Progress) -> Images:
    """Reads a `.zip` or `.tar`; its images lie in a folder beside it afterwards.

    Raises:
        Invalid: it is no such archive, it is too large, a name leaves it, it has no images, or `labels.csv` is wrong.
    """
    folder = path.with_name("images")
    folder.mkdir()
    good: list[dict[str, object]] = []
    broken: list[dict[str, object]] = []
    labels: pl.DataFrame | None = None
    for share, name, content in members(path, BYTES):
        progress(0.5 * share, "reading images")
        if name == LABELS:
            labels = labels_of(content, folder)
        elif name.lower().endswith(ENDINGS):
            try:
                found = facts(content)
            except Invalid as error:
                broken.append({FILE: name, "reason": error.message})
                continue
            (folder / str(found["digest"])).write_bytes(content)
            good.append({FILE: name, **found})
    if not good:
        raise Invalid(
            f"{path.name} holds no image that can be read.",
            words=f"{broken[0][FILE]}: {broken[0]['reason']}" if broken else "",
            field="path",
            hint=f"Known endings are {', '.join(ENDINGS)}.",
        )
    apart = pl.DataFrame(broken, schema={FILE: pl.String, "reason": pl.String})
    rows, apart = labelled(pl.DataFrame(good), apart, labels)
    return Images(rows=rows, broken=apart, folder=folder, source=path.name)


def judged(images: Images, reading: Reading, progress: Progress) -> Ingested:
    """The rows of an archive as their contract wants them; `type` of the column `file` says what is done about broken images.

    Without a contract, what an image says of itself gets no range, so that the next ones may be larger or darker.

    Raises:
        Invalid: images are broken and the contract refuses those, or as `ingest`.
    """
    severity = "refuse" if reading.contract is None else reading.contract.column(FILE).of("type")
    broken = images.broken
    if severity == "refuse":
        problems = Problems(source=images.source)
        for name, reason in broken.select(FILE, "reason").iter_rows():
            problems.add(Problem(column=FILE, what=f"{quote(name)}: {reason}"))
        problems.refuse("Leave them out, or let the contract quarantine them: severity of the column 'file'.")
    path = images.folder.with_name(f"{Path(images.source).stem}.parquet")
    images.rows.write_parquet(path)
    read = ingest(path, replace(reading, id_column=reading.id_column or FILE), progress=progress)
    if reading.contract is None:
        columns = [
            replace(each, low=None, high=None, categories=None) if each.name in FACTS else each for each in read.contract.columns
        ]
        read = replace(read, contract=replace(read.contract, columns=tuple(columns)))
    if not broken.height:
        return read
    share = 1.0 if reading.contract is None else reading.contract.quarantine_share
    if severity == "quarantine" and broken.height > share * (broken.height + images.rows.height):
        raise Invalid(
            f"{images.source} was refused: {broken.height:,} images cannot be read, and at most {share:.0%} may be kept apart.",
            field="quarantine_share",
            hint="Mend them, or raise the contract's quarantine_share.",
        )
    hit = Hit(rule=f"column '{FILE}': is no image", severity=severity, count=broken.height, example=str(broken[FILE][0]))
    return replace(read, hits=(*read.hits, hit), quarantine=_apart(read, broken))


def keep(images: Images, read: Ingested, blobs: Blobs) -> None:
    """Keeps the files of the rows that are in, each once."""
    for digest in read.frame["digest"].unique():
        path = images.folder / str(digest)
        if path.exists() and not blobs.path(str(digest)).exists():
            blobs.put(path)


def _apart(read: Ingested, broken: pl.DataFrame) -> pl.DataFrame:
    """All rows that were kept apart, broken images last."""
    numbers = pl.Series("_row", [None] * broken.height, dtype=pl.Int64)
    more = broken.select(
        pl.exclude("reason").cast(pl.String), numbers, numbers.alias("_line"), pl.col("reason").alias("_reasons")
    )
    return more if read.quarantine is None else pl.concat([read.quarantine, more], how="diagonal")


def sheet(images: Images) -> Path:
    """Writes a PNG with the first images of the first classes, a row of thumbnails per class."""
    groups = (
        [(str(value[0]), part) for value, part in images.rows.group_by(LABEL, maintain_order=True)]
        if LABEL in images.rows.columns
        else [("", images.rows)]
    )[:CLASSES]
    side, head = THUMBNAIL + 4, 14
    whole = Image.new("RGB", (side * ACROSS, (side + head) * len(groups)), "white")
    draw = ImageDraw.Draw(whole)
    for row, (label, part) in enumerate(sorted(groups, key=lambda group: group[0])):
        top = row * (side + head)
        draw.text((2, top), label.encode("latin-1", "replace").decode("latin-1")[:80], fill="black")
        for place, digest in enumerate(part["digest"].head(ACROSS)):
            thumbnail = opened((images.folder / str(digest)).read_bytes()).convert("RGB")
            thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
            whole.paste(thumbnail, (place * side + 2, top + head))
    path = images.folder.with_name("sheet.png")
    whole.save(path)
    return path
