"""One frozen tree of every package's options, read once: `tandem.toml`, then the environment over it.

Every key can be set as `TANDEM_A__B__C`. Unknown keys are errors that name the file's line. What the
file declares is marked `managed: file:LINE` and is read-only elsewhere.
"""

from tandem.settings.read import load
from tandem.settings.tree import Settings

__all__ = ["Settings", "load"]
