"""Lays out what was uploaded and lists its models: `python -m tandem.training.imports.unpack`; see `tandem.jobs.apart`."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import msgspec

from tandem.core.errors import Invalid
from tandem.jobs.apart import Progress, serve
from tandem.store.blobs import check_member
from tandem.training.imports.find import Listing, find

FILES = 5_000
BYTES = 2 * 1024**3
"""Of all files together."""


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A tar, and the folder that it is laid out in."""

    tar: str
    folder: str


def carry_out(order: Upload, progress: Progress) -> Listing:
    """Lays out the files and finds the models; an interrupted attempt is done again from its beginning.

    Raises:
        Invalid: it is no tar, holds links or paths that lead out, or is too large; or as `find`.
    """
    folder = Path(order.folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with tarfile.open(order.tar, "r:") as archive:
            files = total = 0
            for member in archive:
                if member.isdir():
                    continue
                files, total = files + 1, total + member.size
                if not member.isreg():
                    raise Invalid(f"'{member.name}' in the upload is no plain file.", hint="Links are not followed.")
                if files > FILES or total > BYTES:
                    raise Invalid(f"The folder has more than {FILES:,} files or {BYTES // 1024**3} GiB.", hint="Split it.")
                path = folder / check_member(member.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None
                with path.open("xb") as file:
                    shutil.copyfileobj(source, file)
    except (tarfile.TarError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Invalid(f"The upload is no whole tar archive: {error}.", hint="Send an uncompressed tar.") from None
    progress(1.0, "listing models")
    return find(folder)


if __name__ == "__main__":
    raise SystemExit(serve(Upload, carry_out))
