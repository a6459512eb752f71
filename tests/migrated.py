"""A fresh database without the time that it takes to make one: the migrations are run once, then their result is copied."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import make_url

from tandem.store.sql import migrate


def migrated(url: str) -> None:
    """What `migrate` does; `tests/store/test_migrations.py` tests `migrate` itself."""
    made = make_url(url)
    if made.get_backend_name() != "sqlite" or made.database is None or Path(made.database).exists():
        migrate(url)
    else:
        shutil.copyfile(_newest(), made.database)


@cache
def _newest() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="tandem-migrated-")
    _KEPT.append(folder)
    found = Path(folder.name) / "control.db"
    migrate(f"sqlite:///{found}")
    assert [each.name for each in found.parent.iterdir()] == [found.name], "nothing is left in a log beside it"
    return found


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
