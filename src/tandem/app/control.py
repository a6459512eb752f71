"""The control process, built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI

from tandem.api.server import build as web
from tandem.app import Role
from tandem.app.faces import face
from tandem.app.parts import assemble
from tandem.app.rounds import background
from tandem.settings import Settings


@dataclass(frozen=True, slots=True)
class App:
    """The control process, built: its application and what runs beside it."""

    web: FastAPI

    background: dict[str, Callable[[], object]]
    """Thread name → work that goes on until `close`."""
    close: Callable[[], None]
    admin: str | None
    """The admin key, on the first start only."""


def build(settings: Settings, role: Role = "all") -> App:
    """Builds the control process of a home: its parts, its face, its rounds. Nothing goes on yet."""
    parts = assemble(settings, role)
    work, close = background(parts, doors=role != "work")
    return App(web(face(parts)), work, close, parts.admin)
