"""What a story of the demo is told with: commands run as processes of their own, and claims that must hold."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import httpx2

PATIENCE_SECONDS = 20.0
"""How long a story waits for what the platform promises within a second."""
T = TypeVar("T")


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
    http: httpx2.Client
    """To the platform, with the administrator's key: one for all calls, since a new one reads every certificate anew."""
    failed: list[str] = field(default_factory=list)
    figures: list[tuple[str, str, str]] = field(default_factory=list)
    """Capability, command, and what was measured: the table at the end."""
    started: float = field(default_factory=time.monotonic)
    steps: list[tuple[str, float]] = field(default_factory=list)
    """Each step that was told to its end, by its title, and the seconds it took, everything it waited for included."""
    _telling: tuple[str, float] | None = None

    def title(self, text: str) -> None:
        """Begins a step, which ends the one before."""
        self.end()
        click.echo()
        click.secho(text, bold=True)
        self._telling = text, time.monotonic()

    def end(self) -> None:
        """Ends the step that is told, if there is one, and says how long it took."""
        if self._telling is not None:
            text, begun = self._telling
            self.steps.append((text, time.monotonic() - begun))
            self._telling = None
            click.secho(f"  {self.steps[-1][1]:.1f} s", dim=True)

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
        """What `/api/v1` answers, where the story shows no command for it."""
        reply = self.http.request(method, f"/api/v1{path}", json=body)
        if reply.status_code >= 400:
            self.check(False, f"{method} /api/v1{path} answered {reply.status_code}: {reply.text[:200]}")
        return reply.json()

    def post(self, path: str, body: object) -> Any:
        """Calls an endpoint through the door, as an application does; the story fails where that is refused."""
        return self.post_all(path, [body])[0]

    def post_all(self, path: str, bodies: Sequence[object]) -> list[Any]:
        """The same, one call after the other over one connection."""
        replies = [self.http.post(path, json=body) for body in bodies]
        for reply in replies:
            if reply.status_code != 200:
                self.check(False, f"{path} answered {reply.status_code}: {reply.text[:200]}")
        return replies

    def until(self, look: Callable[[], T]) -> T:
        """Looks until there is something to see, or patience ends; returns what was seen last."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (seen := look()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return seen

    def trace(self, trace: str) -> Any:
        """A call with what was said in it; a call is told about shortly after it was answered."""
        path = f"/api/v1/traces/{trace}?content=1"
        self.until(lambda: self.http.get(path).status_code == 200)
        return self.api("GET", path.removeprefix("/api/v1"))

    def served(self, method: str, path: str) -> None:
        """Waits until the door knows what was just promoted."""
        self.until(lambda: self.http.request(method, path).status_code != 404)


def example(folder: str, name: str) -> Path:
    """A file of `examples/`: beside this module in an installed wheel, in the repository else."""
    installed = Path(__file__).parent / "examples" / folder / name
    return installed if installed.exists() else Path(__file__).parents[3] / "examples" / folder / name
