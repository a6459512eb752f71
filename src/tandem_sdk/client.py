"""The client: one object, one resource per noun, and the calls to endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType

from tandem_sdk import calls, credentials
from tandem_sdk.alerts import Alerts
from tandem_sdk.approvals import Approvals, Requests
from tandem_sdk.assets import Assets
from tandem_sdk.audit import AuditLog
from tandem_sdk.batches import Batches
from tandem_sdk.budgets import Budgets, Limits
from tandem_sdk.calls import Chat, Decision, Message, Piece, Prediction, Row
from tandem_sdk.costs import Costs
from tandem_sdk.datasets import Datasets
from tandem_sdk.decisions import Decisions
from tandem_sdk.endpoints import Endpoints
from tandem_sdk.features import Features
from tandem_sdk.gates import Gates
from tandem_sdk.imports import Imports
from tandem_sdk.indexes import Indexes
from tandem_sdk.keys import Keys, Principal
from tandem_sdk.machines import Machines
from tandem_sdk.monitors import Monitors
from tandem_sdk.outcomes import Outcomes
from tandem_sdk.persons import Persons, Teams
from tandem_sdk.pipelines import Pipelines
from tandem_sdk.policies import Policies
from tandem_sdk.prices import Prices
from tandem_sdk.projects import Projects
from tandem_sdk.prompts import Prompts
from tandem_sdk.providers import Check, Providers
from tandem_sdk.releases import Releases
from tandem_sdk.reviews import Reviews
from tandem_sdk.runs import Runs
from tandem_sdk.subjects import Subjects
from tandem_sdk.suites import Suites
from tandem_sdk.traces import Traces
from tandem_sdk.usage import Usages
from tandem_sdk.vault import Vault
from tandem_sdk.wire import API, Wire, read_replies, read_reply

__version__ = "0.1.0"


class Client:
    """A synchronous client of one platform. Close it, or use it in a `with`; one thread at a time.

    >>> with Client("http://127.0.0.1:8400", "tdm_example") as tandem:
    ...     tandem.url
    'http://127.0.0.1:8400'
    """

    def __init__(self, url: str | None = None, key: str | Callable[[], str] | None = None, *, verify: bool = True) -> None:
        """
        Args:
            url: the platform's address; None means TANDEM_URL, else what `tandem login` stored, else http://127.0.0.1:8400.
            key: None means TANDEM_KEY, else what `tandem login` stored for this address. A function is asked before each
                request, as in a pipeline, whose keys last a minute.
            verify: whether the platform's certificate is checked; False only from its own machine.

        Raises:
            Invalid: the address is none, or what was stored cannot be read.
        """
        found = credentials.find(url, None if callable(key) else key)
        self._wire = Wire(found.url, key if callable(key) else found.key, __version__, verify=verify)
        self.has_key = callable(key) or found.key is not None
        """Whether any key was found."""
        self.assets = Assets(self._wire)
        self.datasets = Datasets(self._wire)
        self.features = Features(self._wire)
        self.imports = Imports(self._wire)
        self.indexes = Indexes(self._wire)
        self.runs = Runs(self._wire)
        self.batches = Batches(self._wire)
        self.policies = Policies(self._wire)
        self.prompts = Prompts(self._wire)
        self.suites = Suites(self._wire)
        self.releases = Releases(self._wire)
        self.decisions = Decisions(self._wire)
        self.pipelines = Pipelines(self._wire)
        self.endpoints = Endpoints(self._wire)
        self.providers = Providers(self._wire)
        self.persons = Persons(self._wire)
        self.teams = Teams(self._wire)
        self.prices = Prices(self._wire)
        self.keys = Keys(self._wire)
        self.budgets = Budgets(self._wire)
        self.limits = Limits(self._wire)
        self.costs = Costs(self._wire)
        self.gates = Gates(self._wire)
        self.projects = Projects(self._wire)
        self.monitors = Monitors(self._wire)
        self.outcomes = Outcomes(self._wire)
        self.approvals = Approvals(self._wire)
        self.requests = Requests(self._wire)
        self.reviews = Reviews(self._wire)
        self.alerts = Alerts(self._wire)
        self.traces = Traces(self._wire)
        self.usage = Usages(self._wire)
        self.vault = Vault(self._wire)
        self.machines = Machines(self._wire)
        self.audit = AuditLog(self._wire)
        self.subjects = Subjects(self._wire)

    @property
    def url(self) -> str:
        """The platform's address."""
        return self._wire.url

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connections back."""
        self._wire.close()

    def predict(self, model: str, rows: Sequence[Row], explain: bool = False) -> Prediction:
        """What a model says about rows.

        Args:
            model: an endpoint's name, or `NAME@VERSION` for keys with the scope `any-version`.
            rows: column → value, each row the same columns; None is a missing value.
            explain: also ask how much each column added.

        Raises:
            Invalid: a column is missing, unknown or out of its range; `field` names it.
            NotFound, Refused: no such endpoint, or not for this key.
        """
        return calls.predict(self._wire, model, rows, explain=explain)

    def decide(self, name: str, input: Mapping[str, object]) -> Decision:
        """What a decision says.

        Raises:
            Invalid: the input does not fit the decision's schema; `field` names where.
            NotFound, Refused: no such endpoint, or not for this key.
        """
        return calls.decide(self._wire, name, input)

    def chat(
        self,
        endpoint: str,
        messages: str | Sequence[Message],
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] | None = None,
        seed: int | None = None,
        response_format: Mapping[str, object] | None = None,
        user: str | None = None,
    ) -> Chat:
        """Asks a language model; a text alone is one message of the user.

        Raises:
            Refused: the key, a budget or a guard said no; nothing was sent.
            Upstream: the provider failed.
        """
        return calls.chat(
            self._wire,
            calls.chat_body(
                endpoint, messages, temperature=temperature, top_p=top_p, max_tokens=max_tokens, stop=stop, seed=seed,
                response_format=response_format, user=user,
            ),
        )  # fmt: skip

    def stream(
        self,
        endpoint: str,
        messages: str | Sequence[Message],
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] | None = None,
        seed: int | None = None,
        response_format: Mapping[str, object] | None = None,
        user: str | None = None,
    ) -> Iterator[Piece]:
        """Like `chat`, piece by piece as the model writes. Exhaust or close the iterator.

        Raises:
            TandemError: as `chat`; also in the middle of the stream.
        """
        return calls.stream(
            self._wire,
            calls.chat_body(
                endpoint, messages, temperature=temperature, top_p=top_p, max_tokens=max_tokens, stop=stop, seed=seed,
                response_format=response_format, user=user,
            ),
        )  # fmt: skip

    def whoami(self) -> Principal:
        """Whom the platform takes this key for.

        Raises:
            Unauthenticated: nobody it knows.
        """
        return read_reply(Principal, self._wire.get(f"{API}/whoami"))

    def health(self) -> Mapping[str, object]:
        """What the door says about itself; needs no key."""
        told = self._wire.get("/health").json()
        return told if isinstance(told, dict) else {}

    def doctor(self) -> tuple[Check, ...]:
        """What the platform found when it examined itself."""
        return read_replies(Check, self._wire.get(f"{API}/doctor"))
