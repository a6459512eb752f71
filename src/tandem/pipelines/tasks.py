"""The durable workflow `pipeline`: a user's file in a child process, step by step; what is done stays done.

There are no checkpoints of the engine's: each step that returned is a row with its result, and a Run that is resumed
calls the pipeline again and finds them. The child asks (`talk`), this side answers.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Broken, Conflict, Forbidden, Invalid, TandemError, TimedOut
from tandem.core.principal import Principal
from tandem.core.run import ENDED
from tandem.data.versions import find, place
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.governance.lend import lend
from tandem.jobs import staging
from tandem.jobs.apart import bare_environment
from tandem.jobs.job import Halted, Job, Work, Workflows
from tandem.jobs.repo import Runs
from tandem.pipelines.log import Log
from tandem.pipelines.pipelines import KIND
from tandem.pipelines.repo import KEPT, Step, Steps
from tandem.pipelines.talk import (
    RESULTS,
    SOURCE,
    Answer,
    Asked,
    Begin,
    Done,
    Ended,
    Failed,
    Go,
    Known,
    Lend,
    Lent,
    Lies,
    Order,
    Parts,
    Read,
    Refused,
    Stop,
    mark,
)
from tandem.registry.registry import Registry
from tandem.store.blobs import Blobs, check_member
from tandem.store.canonical import canonical

POLL = 0.2
"""Seconds between two looks at the clock and at whether to go on."""
HOLDS_SECONDS = 1.0
"""How often it is looked whether the key of whoever started it still stands."""
MOST_STEPS = 10_000
"""Of one Run."""
DYING_SECONDS = 1.0
"""For a process whose socket is closed."""
WORD_BYTES = 4 << 20
"""Of one word of a child's."""
SAID = 4_000
"""Characters of what the pipeline printed last that its Run keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The inputs of a pipeline's Run; keys it does not know are left alone."""

    pipeline: str
    """The version."""
    given: Mapping[str, object] = field(default_factory=dict)
    cache: bool = True
    because: tuple[str, ...] = ()
    by: Principal


class Options(Protocol):
    """The part of the settings that is needed here."""

    @property
    def deadline_seconds(self) -> float: ...

    @property
    def memory_bytes(self) -> int: ...

    @property
    def cache_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What the workflow works on."""

    registry: Registry
    runs: Runs
    jobs: Workflows
    steps: Steps
    results: Blobs
    """Files of steps' results; nothing but the cache, and can be lost."""
    clock: Clock
    secret: bytes
    """Under which keys are lent."""
    holds: Callable[[Principal], bool]
    """Whether a principal's key may still be used."""
    url: str
    """Where the child finds the platform."""
    lake: Path
    work: Path
    options: Options


def make_pipeline(stores: Stores) -> Work:
    """The workflow `pipeline`. Its Run's outputs are `steps` and `cached` (numbers), `result` (what the function returned,
    where that is JSON), `made` (the versions that its Runs made) and `said` (what it printed last)."""

    def pipeline(job: Job) -> Mapping[str, object]:
        inputs = _inputs(job.inputs)
        authorise(inputs.by, "write")
        version = stores.registry.find(Ref.parse(inputs.pipeline), scope_of(inputs.by))
        folder = stores.work / job.run_id
        carried = Carrying(stores, job, inputs, version, folder)
        succeeded = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / SOURCE).write_bytes(stores.registry.member(version, SOURCE))
            outputs = carried.carry()
            succeeded = True
            return outputs
        finally:
            if job.halted() not in ("stopping", "lost"):
                staging.clear(folder)
                if not succeeded:
                    _end_nested(stores, job.run_id)

    return pipeline


def _inputs(inputs: Mapping[str, object]) -> Inputs:
    try:
        return msgspec.convert(dict(inputs), Inputs)
    except msgspec.ValidationError as error:
        raise Invalid(f"The pipeline's inputs are wrong: {error}.", field="inputs") from None


def _end_nested(stores: Stores, run: str) -> None:
    for nested in stores.runs.list(ALL, parent=run):
        if nested.state not in ENDED:
            with suppress(TandemError):  # it has ended meanwhile, or the engine finds its row at the next start
                stores.jobs.cancel(nested.id)


class Child:
    """One process, its socket, and what it prints."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tandem.pipelines.child", "--fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=bare_environment() | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        self.connection = Connection(ours.detach())
        assert self.process.stdout is not None
        self.log = Log(self.process.stdout)

    def hear(self) -> Asked | None:
        """Its next word; None when there is none yet.

        Raises:
            EOFError: it is dead, or what it says cannot be understood.
        """
        ended = self.process.poll() is not None
        if not self.connection.poll(0 if ended else POLL):
            if ended:
                raise EOFError
            return None
        try:
            word: Asked = msgspec.msgpack.decode(self.connection.recv_bytes(WORD_BYTES), type=Asked)
            return word
        except (OSError, msgspec.DecodeError):
            raise EOFError from None

    def say(self, word: Answer | Order) -> None:
        with suppress(OSError):  # it is dead: the next look tells
            self.connection.send_bytes(msgspec.msgpack.encode(word))

    def end(self) -> None:
        """Kills it with its whole session, so that nothing it has begun outlives it; done twice, it does nothing."""
        if self.connection.closed:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()
        assert self.process.stdin is not None
        self.process.stdin.close()

    def death(self) -> str:
        """What became of it, in a sentence."""
        try:
            code = self.process.wait(DYING_SECONDS)
        except subprocess.TimeoutExpired:
            return "Its process said what cannot be understood."
        if code < 0:
            return f"Its process was killed by {signal.Signals(-code).name}; most often that is too little memory."
        return f"Its process ended with code {code}."


class _Anew(Exception):
    """The child is gone, and its step is to be tried again in another one."""


class Carrying:
    """One attempt at a pipeline's Run."""

    def __init__(self, stores: Stores, job: Job, inputs: Inputs, version: Version, folder: Path) -> None:
        self._stores, self._job, self._inputs, self._version, self._folder = stores, job, inputs, version, folder
        self._expected = self._steps_before()
        self._now: tuple[Step, Begin] | None = None
        """The step that is being done."""
        self._late = self._looked = float("inf")
        self._attempts: dict[int, int] = {}
        self._failed: dict[str, str] = {}
        """What a step's error said → its name."""

    def carry(self) -> Mapping[str, object]:
        """Does the whole pipeline; returns the Run's outputs.

        Raises:
            TandemError: it failed, took too long, or its starter's key was revoked.
            Halted: it was cancelled, or this process is going down.
        """
        while True:
            child = Child()
            self._now, self._looked = None, self._stores.clock.monotonic()
            try:
                child.say(self._order())
                return self._outputs(self._talk(child), child.log.cut(mark(-1)))
            except _Anew:
                continue
            finally:
                child.end()

    def _order(self) -> Order:
        return Order(
            folder=str(self._folder),
            entry=str(self._version.meta["entry"]),
            run=self._job.run_id,
            given=self._inputs.given,
            because=self._inputs.because,
            url=self._stores.url,
            lake=str(self._stores.lake),
            memory_bytes=self._stores.options.memory_bytes,
        )

    def _talk(self, child: Child) -> Ended:
        while True:
            self._look(child)
            try:
                word = child.hear()
            except EOFError:
                raise self._lost(child, child.death(), Broken) from None
            match word:
                case None:
                    continue
                case Begin():
                    child.say(self._begin(word))
                case Done():
                    child.say(self._done(word, child.log))
                case Failed():
                    child.say(self._raised(word, child.log))
                case Lend():
                    by = replace(self._inputs.by, run=self._job.run_id)
                    child.say(Lent(lend(self._stores.secret, by, self._stores.clock.now())))
                case Read():
                    child.say(self._read(word.ref))
                case Ended():
                    return word

    def _look(self, child: Child) -> None:
        """Whether to go on."""
        why = self._job.halted()
        if why is not None:
            if why == "cancelled":
                self._ended_badly(child, "It was cancelled.")
            raise Halted(why)
        now = self._stores.clock.monotonic()
        if now >= self._late:
            assert self._now is not None
            raise self._lost(child, f"It took more than {self._now[1].timeout:g} s.", TimedOut)
        if now - self._looked < HOLDS_SECONDS:
            return
        self._looked = now
        begun = self._job.run.started_at or self._stores.clock.now()
        if self._stores.clock.now() - begun > self._stores.options.deadline_seconds * MICROS:
            self._ended_badly(child, "The pipeline's time was over.")
            raise TimedOut(
                f"The pipeline took more than {self._stores.options.deadline_seconds:g} s.",
                hint="Split it, or raise `deadline_seconds` of [pipelines].",
            )
        if not self._stores.holds(self._inputs.by):
            self._ended_badly(child, "Its rights were revoked.")
            name = self._inputs.by.name
            raise Forbidden(f"The key or person '{name}', whose rights it has, was revoked.", hint="Start it with another key.")

    def _begin(self, word: Begin) -> Answer:
        if not 0 <= word.position < MOST_STEPS:
            raise Invalid(f"A pipeline may call {MOST_STEPS} steps.", hint="Let one step do what many did.")
        step = Step(
            run=self._job.run_id,
            position=word.position,
            team=self._job.run.team,
            pipeline=self._job.run.name,
            name=word.name[:200],
            key=key_of(word.name, word.parts),
            parts=word.parts,
            after=word.after,
            started_at=self._stores.clock.now(),
        )
        share = word.position / max(self._expected, word.position + 1)
        self._job.progress(share, f"step {word.position + 1}: {step.name}")
        same, steps = self._stores.steps.same(step), self._stores.steps
        found = same or (steps.equal(step) if word.cache and self._inputs.cache else None)
        folder = None if found is None else self._files(found, word.position)
        if found is not None and folder is not None:
            if same is None:
                taken = {"value": found.value, "files": found.files, "bytes": found.bytes, "ended_at": self._stores.clock.now()}
                steps.keep(replace(step, state="cached", source=found.run, **taken))  # type: ignore[arg-type]  # its own fields
            return Known(found.value.encode(), folder)
        attempts = self._attempts.get(word.position, 1)
        self._now = (replace(step, why=self._why(step, word, lost=found is not None), attempts=attempts), word)
        self._late = float("inf") if word.timeout is None else self._stores.clock.monotonic() + word.timeout
        steps.keep(self._now[0])
        return Go()

    def _files(self, found: Step, position: int) -> str | None:
        """Puts the files of a result into the Run's folder; None when the cache has lost them."""
        if not found.files:
            return ""
        target = self._folder / f"known-{position}"
        try:
            return str(self._stores.results.materialise(found.files, target))
        except (Broken, Conflict):
            shutil.rmtree(target, ignore_errors=True)
            return None

    def _why(self, step: Step, word: Begin, *, lost: bool) -> str:
        """Why a step is done and not taken from the cache."""
        if lost:
            return "its result is no longer kept"
        if not word.cache:
            return "it looks anew in every run"
        before = self._stores.steps.before(step)
        if before is None:
            return "it was never done before"
        changed = [f"the input '{name}'" for name, each in step.parts.inputs.items() if before.parts.inputs.get(name) != each]
        if before.parts.code != step.parts.code:
            changed.insert(0, "its code")
        if before.parts.environment != step.parts.environment:
            changed.append("the libraries")
        if changed:
            return f"since {before.run}: {', '.join(changed)} changed"
        return "its result is no longer kept" if self._inputs.cache else "the cache was not to be used"

    def _done(self, word: Done, log: Log) -> Answer:
        step = self._current(word.position)
        files: dict[str, str] = {}
        size = 0
        for name in word.files:
            path = self._folder / RESULTS / check_member(name)
            size += path.stat().st_size if path.is_file() else 0
            if size > self._stores.options.cache_bytes:
                raise Invalid(
                    f"The step '{step.name}' returned more than the cache may hold.",
                    hint="Return less, or raise `cache_bytes` of [pipelines].",
                )
            files[name] = self._stores.results.put(path)
        said = log.cut(mark(step.position))
        self._keep(replace(step, state="done", value=word.value.decode(), files=files, bytes=size, log=said))
        return Go()

    def _raised(self, word: Failed, log: Log) -> Answer:
        step = self._current(word.position)
        self._failed[word.words] = step.name
        assert self._now is not None
        again = step.attempts <= self._now[1].retries
        failed = replace(step, state="running" if again else "failed", error=word.words, log=log.cut(mark(step.position)))
        if again:
            self._tried(failed)
            return Go()
        self._keep(failed)
        return Stop()

    def _tried(self, failed: Step) -> None:
        """Notes that the step is tried once more, in the time that it has."""
        assert self._now is not None
        again = replace(failed, attempts=failed.attempts + 1)
        self._now = (again, self._now[1])
        self._attempts[again.position] = again.attempts
        if self._now[1].timeout is not None:
            self._late = self._stores.clock.monotonic() + self._now[1].timeout
        self._stores.steps.keep(again)

    def _lost(self, child: Child, words: str, kind: type[TandemError]) -> Exception:
        """What to raise when a child is dead or has to die: an error, or that its step is tried again."""
        child.end()
        if self._now is None:
            said = child.log.cut(mark(-1)).strip()[-SAID:]
            return kind(f"The pipeline failed: {words}{' It said: ' + said if said else ''}")
        step, begun = self._now
        self._late = float("inf")
        if step.attempts <= begun.retries:
            self._tried(replace(step, error=words))
            return _Anew()
        self._ended_badly(child, words)
        return kind(f"The step '{step.name}' failed: {words}")

    def _ended_badly(self, child: Child, words: str) -> None:
        """Kills the child, and says so in the step that it was doing."""
        child.end()
        if self._now is not None:
            self._keep(replace(self._now[0], state="failed", error=words, log=child.log.cut(mark(self._now[0].position))))

    def _keep(self, step: Step) -> None:
        """The step that was being done is over."""
        self._stores.steps.keep(replace(step, ended_at=self._stores.clock.now()))
        self._now, self._late = None, float("inf")

    def _current(self, position: int) -> Step:
        if self._now is None or self._now[0].position != position:
            raise Broken(f"The pipeline's process spoke of step {position}, which it was not doing.")
        return self._now[0]

    def _read(self, ref: str) -> Answer:
        try:
            found = place(find(self._stores.registry, ref, self._inputs.by))
        except TandemError as error:
            return Refused(str(error))
        return Lies(found.table, found.version)

    def _outputs(self, ended: Ended, said: str) -> Mapping[str, object]:
        if ended.words:
            name = self._failed.get(ended.words)
            where = "The pipeline" if name is None else f"The step '{name}'"
            raise Invalid(f"{where} failed: {ended.words}", code="pipeline_failed")
        done = self._stores.steps.of(self._job.run_id)
        nested = self._stores.runs.list(ALL, parent=self._job.run_id)
        return {
            "steps": sum(step.state in KEPT for step in done),
            "cached": sum(step.state == "cached" for step in done),
            "result": msgspec.json.decode(ended.value),
            "made": sorted({str(run.outputs["asset"]) for run in nested if run.outputs.get("asset")}),
            "said": said[-SAID:],
        }

    def _steps_before(self) -> int:
        """How many steps the last Run had that succeeded: what progress is told against."""
        run = self._job.run
        last = self._stores.runs.list(ALL, kind=KIND, name=run.name, state="succeeded", limit=1)
        return len(self._stores.steps.of(last[0].id)) if last else 0


def key_of(name: str, parts: Parts) -> str:
    """What a result is kept under: a digest of the step's name and of all that it depends on."""
    text = canonical({"step": name, **msgspec.to_builtins(parts)})
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
