"""Where DBOS keeps its own: a file of this machine, or a PostgreSQL server that every machine reaches. It knows no Run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tandem.core.secret import Secret
from tandem.store.sql import server_engine, server_url

if TYPE_CHECKING:
    from dbos import Serializer
    from sqlalchemy import Engine

CONNECTIONS = 12
"""Of one process at a server: each Run that is done holds one now and then."""


def address(place: Path | Secret) -> str:
    """How DBOS is told of the place; it may hold a password."""
    return f"sqlite:///{place}" if isinstance(place, Path) else server_url(place).render_as_string(hide_password=False)


def engine(place: Path | Secret) -> Engine:
    """The connections to the place."""
    return _file(place) if isinstance(place, Path) else server_engine(place, pool_size=CONNECTIONS, max_overflow=CONNECTIONS)


def _file(path: Path) -> Engine:
    """As DBOS would make it (immediate transactions, a patient lock), and with a write-ahead log.

    NORMAL does not fsync each commit: a power cut may undo the newest checkpoints, so that steps are done
    again, which they must bear anyway.
    """
    from sqlalchemy import create_engine, event

    made = create_engine(f"sqlite:///{path}", hide_parameters=True)

    def connected(connection: Any, entry: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout = 30000", "journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(made, "connect", connected)
    return made


def serializer() -> Serializer:
    """JSON instead of pickle: reading the database must not run code."""
    import msgspec
    from dbos import Serializer as Base

    class Json(Base):
        def serialize(self, data: Any) -> str:
            if isinstance(data, BaseException):
                data = {"!error": f"{type(data).__name__}: {data}"}
            return msgspec.json.encode(data).decode()

        def deserialize(self, serialized_data: str) -> Any:
            data = msgspec.json.decode(serialized_data)
            if isinstance(data, dict) and "!error" in data:
                return RuntimeError(data["!error"])
            return data

        def name(self) -> str:
            return "tandem_json"

    return Json()
