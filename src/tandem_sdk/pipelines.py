"""Pipelines: users' steps, carried out as Runs; what they are written with is in `tandem_sdk.pipeline`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_sdk.assets import Version
from tandem_sdk.runs import Run
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """One step of one Run."""

    position: int
    name: str
    state: str
    """`running`, `done`, `cached` or `failed`."""
    why: str = ""
    """Why it was done, and not taken from the cache."""
    source: str = ""
    """The Run that its result was taken from."""
    key: str = ""
    after: tuple[int, ...] = ()
    """Positions of the steps whose results it was given."""
    attempts: int = 1
    value: object = None
    """Its result as JSON, where that is short; frames and files are named in it."""
    bytes: int = 0
    error: str = ""
    log: str = ""
    started_at: int = 0
    ended_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRun(Run):
    """A Run with its steps."""

    done: tuple[StepDone, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What begins a pipeline by itself."""

    id: str
    pipeline: str
    on: str
    """`every`, `cron`, `data`, `labels` or `alarm`."""
    what: str
    at_least: int = 1
    given: Mapping[str, object] = field(default_factory=dict)
    cooldown: float = 0.0
    by: str = ""
    """Whose rights its Runs have."""
    paused: bool = False
    note: str = ""
    """Why it rests, where the platform has let it rest."""
    waits: tuple[str, ...] = ()
    """Causes that the next Run will name."""
    fired: int = 0
    """Runs it has begun."""
    run: str | None = None
    """The newest."""
    fired_at: int | None = None
    created_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineDetail:
    """A pipeline's newest version, its newest Runs, and its triggers."""

    version: Version
    runs: tuple[PipelineRun, ...] = ()
    triggers: tuple[Trigger, ...] = ()


class Pipelines:
    """`client.pipelines`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(self, name: str, source: str, *, entry: str = "", git: Mapping[str, object] | None = None) -> Version:
        """Stores Python source as the next version of a pipeline; the platform reads its steps in a process of its own.

        Args:
            name: the pipeline's name, without `pipeline/`.
            source: the text of the file.
            entry: the function; empty: the only one that is a pipeline.
            git: `commit`, `dirty` and `remote` of the repository that the file lies in.

        Raises:
            Invalid: the source does not load, or has no such pipeline.
        """
        body = {"source": source, "entry": entry, "git": None if git is None else dict(git)}
        return read_reply(Version, self._wire.send("POST", f"{API}/pipelines/{segment(name)}", body, patient=True))

    def run(self, name: str, *, version: str = "", given: Mapping[str, object] | None = None, cache: bool = True) -> Run:
        """Starts a Run of a pipeline; returns at once.

        Args:
            version: a number or an alias; empty: the newest.
            given: parameter → value.
            cache: whether results of other Runs may be taken.

        Raises:
            NotFound, Invalid: no such pipeline, or a parameter is wrong.
        """
        body = {"version": version, "given": dict(given or {}), "cache": cache}
        return read_reply(Run, self._wire.send("POST", f"{API}/pipelines/{segment(name)}/runs", body, once=True))

    def show(self, name: str) -> PipelineDetail:
        """The newest version, the newest Runs with their steps, and the triggers.

        Raises:
            NotFound: there is none.
        """
        return read_reply(PipelineDetail, self._wire.get(f"{API}/pipelines/{segment(name)}"))

    def steps(self, run: str, *, log: bool = False) -> tuple[StepDone, ...]:
        """The steps of a Run; with `log`, what each printed."""
        query = {"log": "true" if log else None}
        return read_replies(StepDone, self._wire.get(f"{API}/runs/{segment(run)}/steps", query))

    def triggers(self, name: str) -> tuple[Trigger, ...]:
        """What begins a pipeline by itself."""
        return read_replies(Trigger, self._wire.get(f"{API}/pipelines/{segment(name)}/triggers"))

    def add_trigger(
        self,
        name: str,
        *,
        on: str,
        what: str,
        at_least: int = 1,
        given: Mapping[str, object] | None = None,
        cooldown: float = 0.0,
        alias: str = "",
    ) -> Trigger:
        """Has a pipeline begun by itself, with the rights of this client's key.

        Args:
            on: `every` (seconds), `cron` (a line in UTC), `data` (`dataset/NAME`), `labels` (`model/NAME`), `alarm` (a Monitor).
            what: the seconds, the line or the name.
            at_least: of labels, how many must have come.
            given: parameters of its Runs.
            cooldown: seconds after it began a Run in which it begins none.
            alias: whose version runs; empty: the newest.

        Raises:
            NotFound, Invalid: there is no such pipeline or thing, or the time makes no sense.
        """
        body = {"on": on, "what": what, "at_least": at_least, "given": dict(given or {}), "cooldown": cooldown, "alias": alias}
        return read_reply(Trigger, self._wire.send("POST", f"{API}/pipelines/{segment(name)}/triggers", body, once=True))

    def pause_trigger(self, id: str) -> Trigger:
        """Lets a trigger rest; what comes meanwhile is one cause when it goes on."""
        return read_reply(Trigger, self._wire.send("PUT", f"{API}/triggers/{segment(id)}", {"paused": True}))

    def resume_trigger(self, id: str) -> Trigger:
        """Lets a trigger go on."""
        return read_reply(Trigger, self._wire.send("PUT", f"{API}/triggers/{segment(id)}", {"paused": False}))

    def remove_trigger(self, id: str) -> Trigger:
        """Removes a trigger; a Run that it has begun goes on."""
        return read_reply(Trigger, self._wire.send("DELETE", f"{API}/triggers/{segment(id)}"))
