"""What is known of a model by its own framework. It opens nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tandem.training.imports.sample import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A model as its framework has it."""

    framework: str
    library: str
    """The module that knows the version."""
    runtime: str
    """Serves it as it is."""
    members: Mapping[str, Path | bytes]
    """Files of that runtime."""
    own: Callable[[Sample], Any]
    """What the framework itself answers."""
    by: str
    """The call that this is."""
    file: str = ""
    """The member that the runtime begins with."""
    names: tuple[str, ...] = ()
    width: int | None = None
    """Columns that it takes; None where it does not say."""
    classes: tuple[str, ...] = ()
    onnx: Callable[[int], bytes] | None = None
    """Its ONNX form for so many columns."""
    cells: str = ""
    """The runtime that takes values as they are, where the other takes numbers alone."""

    @property
    def version(self) -> str:
        return str(getattr(sys.modules.get(self.library), "__version__", ""))
