"""What a pipeline is written with: `@step`, `@pipeline`, and the Context a pipeline is given. It stands on the SDK alone.

    @step
    def clean(rows: Dataset): ...
    @pipeline
    def nightly(tandem: Context, source: str = "dataset/homes"):
        cleaned = clean(tandem.data(source))

Called by itself, as in a test of yours, a step is the plain function. In a Run of the platform its result is kept, under its
code and its inputs: it is done once.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from tandem_sdk.errors import Invalid
from tandem_sdk.verdicts import Promotion

if TYPE_CHECKING:
    from tandem_sdk.client import Client
    from tandem_sdk.runs import Run

P = ParamSpec("P")
R = TypeVar("R")
_SPAN = re.compile(r"(\d+)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
GONE = frozenset({"failed", "cancelled"})


class Keeper(Protocol):
    """Who carries steps out, and keeps what they return: in a Run, the platform."""

    sources: tuple[str, ...]
    """The versions that the step which is being done rests on, through all steps before it."""

    def step(self, step: Step[Any, Any], arguments: Mapping[str, object]) -> Any:
        """What a step returns for these arguments; inside of another step it is the plain function."""

    def frame(self, ref: str) -> Any:
        """All rows of a dataset version."""


KEEPER: ContextVar[Keeper | None] = ContextVar("tandem_keeper", default=None)
"""Set in a Run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A version, by name and content; as an input of a step it counts by its content."""

    ref: str
    """Such as `model/price@3`."""
    digest: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Of a model that was trained here, or a prompt that was evaluated."""

    def __str__(self) -> str:
        return self.ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset(Asset):
    """A version of a dataset."""

    def frame(self) -> Any:
        """All its rows, as a `polars.DataFrame`.

        Raises:
            Invalid: this is no Run.
        """
        keeper = KEEPER.get()
        if keeper is None:
            raise Invalid("Rows are read in a Run of a pipeline.", hint="In a test, give the step a frame of yours.")
        return keeper.frame(self.ref)


class Step(Generic[P, R]):
    """A function whose result is kept."""

    def __init__(
        self, function: Callable[P, R], *, retries: int, timeout: float | None, cache: bool, uses: tuple[str, ...] | None
    ) -> None:
        self.function = function
        self.name = function.__name__
        self.retries, self.timeout, self.cache, self.uses = retries, timeout, cache, uses
        self.signature = inspect.signature(function)
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        keeper = KEEPER.get()
        if keeper is None:
            return self.function(*args, **kwargs)
        given = self.signature.bind(*args, **kwargs)
        given.apply_defaults()
        result: R = keeper.step(self, given.arguments)
        return result

    def do(self, arguments: Mapping[str, object]) -> R:
        """Calls the function with its arguments by name."""
        given = self.signature.bind_partial()
        given.arguments.update(arguments)
        return self.function(*given.args, **given.kwargs)


class Pipeline(Generic[P, R]):
    """A function that calls steps."""

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(
    *, retries: int = 0, timeout: str | float | None = None, cache: bool = True, uses: Sequence[str] | None = None
) -> Callable[[Callable[P, R]], Step[P, R]]: ...


def step(
    function: Callable[P, R] | None = None,
    /,
    *,
    retries: int = 0,
    timeout: str | float | None = None,
    cache: bool = True,
    uses: Sequence[str] | None = None,
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Makes a function a step.

    Args:
        retries: how often it is tried again when it raises, or takes too long.
        timeout: the longest it may take: seconds, or `90s`, `10m`, `2h`.
        cache: whether another Run may take its result; False for what looks at the world, such as the time.
        uses: the libraries whose versions its result depends on; None means everything that is installed.

    Raises:
        Invalid: the timeout or the retries make no sense.
    """
    if not 0 <= retries <= 10:
        raise Invalid("A step is tried again up to 10 times.", field="retries")
    limit = _seconds(timeout)
    libraries = None if uses is None else tuple(uses)

    def wrapped(plain: Callable[P, R]) -> Step[P, R]:
        return Step(plain, retries=retries, timeout=limit, cache=cache, uses=libraries)

    return wrapped if function is None else wrapped(function)


def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]:
    """Makes a function a pipeline: its first parameter is the Context, the others are what can be set."""
    return Pipeline(function)


def _seconds(timeout: str | float | None) -> float | None:
    if timeout is None:
        return None
    told = _SPAN.fullmatch(timeout) if isinstance(timeout, str) else None
    seconds = float(timeout) if not isinstance(timeout, str) else int(told[1]) * _SECONDS[told[2]] if told else 0
    if not 0 < seconds < 30 * 86400:
        raise Invalid(f"{timeout!r} is no timeout.", hint="Write seconds, or 90s, 10m, 2h.", field="timeout")
    return seconds


class Context:
    """What a pipeline is given: the platform, with the rights of whoever started the Run."""

    def __init__(self, client: Client, run: str, because: Sequence[str] = ()) -> None:
        self.client = client
        """Everything else that the SDK can do. What is asked of it directly is asked again when a Run goes on after a crash."""
        self.run = run
        """The Run's id."""
        self.because = tuple(because)
        """What triggered it, such as `dataset/homes@7 came`."""

    def data(self, ref: str) -> Dataset:
        """The version that a dataset's name means now; for the rest of the Run it stays this one.

        Raises:
            NotFound: there is none.
        """
        found = _find(self, ref)
        if not isinstance(found, Dataset):
            raise Invalid(f"{ref} is no dataset.", hint="Write dataset/NAME[@VERSION].")
        return found

    def publish(self, name: str, rows: Any, *, id_column: str | None = None, time_column: str | None = None) -> Dataset:
        """Makes rows the next version of `dataset/NAME`; the same rows again are the same version.

        Args:
            rows: a `polars.DataFrame`, or the path of a file as `tandem data add` takes it.

        Raises:
            Invalid: they break the dataset's contract.
        """
        return _publish(self, name, Path(rows) if isinstance(rows, str) else rows, id_column, time_column)

    def train(
        self, name: str, *, data: Dataset | str, target: str, algorithm: str = "gradient-boosting",
        options: Mapping[str, object] | None = None,
    ) -> Asset:  # fmt: skip
        """Trains `model/NAME`, and waits for it.

        Args:
            options: the others of `client.runs.train`, by name: `{"split": "time", "tune": 30}`.

        Raises:
            RunFailed: the training failed; the message says why.
        """
        inputs = {**(options or {}), "target": target, "algorithm": algorithm}
        return _train(self, name, self._pinned(data), inputs)

    def predict(self, model: Asset | str, *, data: Dataset | str, name: str) -> Dataset:
        """Scores every row of a dataset, as the next version of `dataset/NAME`.

        Args:
            model: an asset, `model/NAME[@VERSION]`, or `NAME` for the version in production. Any other version than that
                needs the scope `any-version`.
        """
        if isinstance(model, str):
            model = _find(self, model if "/" in model else f"model/{model}@production")
        return _predict(self, name, model, self._pinned(data))

    def evaluate(self, prompt: Asset | str, *, suite: Asset | str) -> Asset:
        """Asks a prompt the questions of a suite; returns the prompt with its metrics."""
        return _evaluate(self, str(prompt), str(suite))

    def promote(self, asset: Asset | str, alias: str = "production") -> Promotion:
        """Moves an alias to a version, when its gate lets it pass.

        Raises:
            GateRefused: the gate said no.
            ApprovalNeeded: people have to agree; nothing moved yet.
        """
        return self.client.assets.promote(str(asset), alias)

    def _pinned(self, data: Dataset | str) -> Dataset:
        return data if isinstance(data, Dataset) else self.data(data)


def _own(function: Callable[P, R]) -> Step[P, R]:
    return Step(function, retries=0, timeout=None, cache=True, uses=())


@step(cache=False, uses=())
def _find(tandem: Context, ref: str) -> Asset:
    found = tandem.client.assets.version(ref)
    return (Dataset if found.kind == "dataset" else Asset)(ref=found.ref, digest=found.digest)


@_own
def _publish(tandem: Context, name: str, rows: Any, id_column: str | None, time_column: str | None) -> Dataset:
    file = rows
    if not isinstance(rows, Path):
        file = Path("publish.parquet")
        rows.write_parquet(file)
    keeper = KEEPER.get()
    parents = () if keeper is None else keeper.sources
    made = tandem.client.datasets.add(name, file, id_column=id_column, time_column=time_column, parents=parents)
    return Dataset(ref=made.ref, digest=made.digest)


@_own
def _train(tandem: Context, name: str, data: Dataset, inputs: Mapping[str, object]) -> Asset:
    run = _run(tandem, "train", name, {**inputs, "data": data.ref})
    metrics = {metric: told.value for metric, told in run.metrics.items()}
    return Asset(ref=run.asset, digest=tandem.client.assets.version(run.asset).digest, metrics=metrics)


@_own
def _predict(tandem: Context, name: str, model: Asset, data: Dataset) -> Dataset:
    made = _run(tandem, "predict", name, {"model": model.ref, "data": data.ref}).asset
    return Dataset(ref=made, digest=tandem.client.assets.version(made).digest)


@step(cache=False, uses=())
def _evaluate(tandem: Context, prompt: str, suite: str) -> Asset:
    asked = tandem.client.assets.version(prompt)
    run = _run(tandem, "evaluate", asked.name, {"prompt": asked.ref, "suite": suite})
    return Asset(ref=asked.ref, digest=asked.digest, metrics={name: told.value for name, told in run.metrics.items()})


def _run(tandem: Context, kind: str, name: str, inputs: Mapping[str, object]) -> Run:
    """A Run of the platform, waited for; one that this pipeline began before it was interrupted is waited for again."""
    runs = tandem.client.runs
    for begun in runs.list(1000, parent=tandem.run):
        same = all(begun.inputs.get(key) == value for key, value in inputs.items())
        if (begun.kind, begun.name) == (kind, name) and begun.state not in GONE and same:
            return runs.wait(begun.id)
    return runs.wait(runs.start(kind, name, inputs).id)
