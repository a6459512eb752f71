"""Where the platform is and with which key: arguments, environment, or the file that `tandem login` wrote."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tandem_sdk.errors import Invalid

DEFAULT_URL = "http://127.0.0.1:8400"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An address and the key for it."""

    url: str
    key: str | None

    def __repr__(self) -> str:
        return f"Credentials(url={self.url!r}, key={'None' if self.key is None else '***'})"


def path(environment: Mapping[str, str] = os.environ) -> Path:
    """The file of `tandem login`: `$XDG_CONFIG_HOME/tandem/credentials.json`, else under `~/.config`."""
    base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "tandem" / "credentials.json"


def find(url: str | None = None, key: str | None = None, environment: Mapping[str, str] = os.environ) -> Credentials:
    """What an argument says, else TANDEM_URL and TANDEM_KEY, else the stored file.

    A stored key is used only for the address that it was stored with.

    Raises:
        Invalid: the stored file cannot be read.
    """
    stored = load(environment)
    address = (url or environment.get("TANDEM_URL") or (stored.url if stored else DEFAULT_URL)).rstrip("/")
    found = key or environment.get("TANDEM_KEY") or None
    if found is None and stored is not None and stored.url == address:
        found = stored.key
    return Credentials(url=address, key=found)


def load(environment: Mapping[str, str] = os.environ) -> Credentials | None:
    """What `tandem login` stored; None when nothing is.

    Raises:
        Invalid: the file is there and cannot be read.
    """
    file = path(environment)
    try:
        told = json.loads(file.read_text("utf-8"))
        return Credentials(url=str(told["url"]).rstrip("/"), key=str(told["key"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Invalid(f"The stored key in {file} cannot be read: {error}.", hint="`tandem login` writes it anew.") from None


def store(credentials: Credentials, environment: Mapping[str, str] = os.environ) -> Path:
    """Keeps address and key for later clients, readable by nobody else (mode 0600).

    Raises:
        Invalid: the file cannot be written.
    """
    file = path(environment)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".credentials.")  # made with mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump({"url": credentials.url, "key": credentials.key}, out)
        os.replace(temporary, file)
    except OSError as error:
        raise Invalid(f"The key cannot be stored in {file}: {error}.", hint="Set TANDEM_KEY instead.") from None
    return file
