"""What a story of the demo is told with: commands run as processes of their own, and claims that must hold."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The language model the story talks to."""

    name: str
    url: str
    model: str
    key: str
    bill: str | None = None
    """Where the mock tells what it billed; None for a real provider, which has no such address."""


@dataclass(slots=True)
class Story:
    """The steps, how they went, and the words they were told in."""

    folder: Path
    url: str
    environment: dict[str, str]
    failed: list[str] = field(default_factory=list)
    figures: list[tuple[str, str, str]] = field(default_factory=list)
    """Capability, command, and what was measured: the table at the end."""
    started: float = field(default_factory=time.monotonic)

    def title(self, text: str) -> None:
        click.echo()
        click.secho(text, bold=True)

    def say(self, text: str) -> None:
        click.echo(f"  {text}")

    def check(self, held: bool, what: str) -> None:
        """A claim of the story; a claim that does not hold fails the demo."""
        click.secho(f"  {'ok' if held else 'FAILED'}: {what}", fg="green" if held else "red")
        if not held:
            self.failed.append(what)

    def figure(self, capability: str, command: str, measured: str) -> None:
        """A row of the table at the end."""
        self.figures.append((capability, command, measured))

    def run(self, *words: str, code: int = 0, quiet: bool = False) -> str:
        """Runs `tandem WORDS`, prints what it printed, and expects an exit code."""
        shown = " ".join(shlex.quote(word) for word in words if word != "--json")
        if not quiet:
            click.secho(f"  $ tandem {shown}", fg="cyan")
        done = subprocess.run(
            [sys.executable, "-m", "tandem", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
        )
        said = (done.stdout + done.stderr).rstrip()
        if said and not quiet:
            click.echo("\n".join(f"    {line}" for line in said.splitlines()))
        if done.returncode != code:
            self.check(False, f"`tandem {shown}` ended with {done.returncode} instead of {code}{': ' + said if quiet else ''}")
        return done.stdout

    def api(self, method: str, path: str, body: object = None) -> Any:
        """What `/api/v1` answers, for what a command would be too slow for."""
        import httpx2

        headers = {"authorization": f"Bearer {self.environment['TANDEM_KEY']}"}
        return httpx2.request(method, f"{self.url}/api/v1{path}", json=body, headers=headers, timeout=60).json()

    def post(self, path: str, body: object) -> Any:
        """Calls an endpoint through the door, as an application does; the story fails where that is refused."""
        return self.post_all(path, [body])[0]

    def post_all(self, path: str, bodies: Sequence[object]) -> list[Any]:
        """The same, one call after the other over one connection."""
        import httpx2

        headers = {"authorization": f"Bearer {self.environment['TANDEM_KEY']}"}
        with httpx2.Client(base_url=self.url, headers=headers, timeout=60) as http:
            replies = [http.post(path, json=body) for body in bodies]
        for reply in replies:
            if reply.status_code != 200:
                self.check(False, f"{path} answered {reply.status_code}: {reply.text[:200]}")
        return replies

    def ask(self, *words: str) -> Any:
        """The same as a value: runs with --json, prints nothing."""
        return json.loads(self.run(*words, "--json", quiet=True) or "{}")


def example(folder: str, name: str) -> Path:
    """A file of `examples/`: beside this module in an installed wheel, in the repository else."""
    installed = Path(__file__).parent / "examples" / folder / name
    return installed if installed.exists() else Path(__file__).parents[3] / "examples" / folder / name
