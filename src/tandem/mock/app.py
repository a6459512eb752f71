"""The app behind the socket: its addresses, who may ask, what is answered where. It words no reply itself.

POST /v1/chat/completions   POST /v1/embeddings   GET /v1/models   GET /v1/models/{id}      with a key
POST /v1/responses   POST /v1/rerank                                                        with a key
POST /v1/messages   POST /v1/messages/count_tokens, these two also after /anthropic         with a key
POST /v1beta/models/{model}:generateContent   :streamGenerateContent?alt=sse   (or /v1/…)   with a key
POST /model/{id}/converse   /model/{id}/converse-stream                                     with a key, or signed
POST /v2/chat   POST /mistral/v1/chat/completions   /mistral/v1/embeddings                  with a key
POST /openai/v1/…   /openai/deployments/{id}/…?api-version=   of chat/completions, embeddings   with a key
GET|DELETE /bill   GET /bill.csv   GET|POST|DELETE /faults   GET|DELETE /requests   GET /   without one
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from os import urandom
from random import Random
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote

import msgspec

from tandem.core.clock import Clock, iso
from tandem.core.errors import Forbidden, Invalid, NotFound, TandemError
from tandem.mock import (
    anthropic_wire,
    azure_wire,
    bedrock_wire,
    cohere_wire,
    gemini_wire,
    keys,
    mistral_wire,
    prices,
    rerank,
    responses_wire,
    tokens,
)
from tandem.mock import openai_reply as out
from tandem.mock import openai_wire as wire
from tandem.mock.anthropic_reply import THOUGHT, MessageReply, Prompted
from tandem.mock.anthropic_wire import Border
from tandem.mock.bedrock_reply import ConverseReply
from tandem.mock.bill import Bill
from tandem.mock.cache import PromptCache
from tandem.mock.cohere_reply import PLAN, CohereReply
from tandem.mock.exchange import Arrival, Bench, Exchange, Plain, Spoken
from tandem.mock.faults import NOTHING, Plan, Script, directed, plan
from tandem.mock.gemini_reply import GenerateReply
from tandem.mock.heard import LARGEST_HEARD, MOST_HEARD, Heard
from tandem.mock.http import Connection, Request, head
from tandem.mock.model import EMPTY, Answer, Ask, Orders, answer, last_user, orders
from tandem.mock.responses_reply import ResponsesReply
from tandem.mock.settings import MockSettings
from tandem.mock.wording import ANTHROPIC, AZURE, BEDROCK, GEMINI, MISTRAL, wording

LARGEST_KEPT = 256 * 1024
"""Bytes of a request body that `GET /requests` still shows."""
_JSON = "application/json"
ROOTS = ("", "/anthropic")
"""Where Anthropic's addresses begin."""
ASKED = ("/v1/", "/v1beta/", "/anthropic/v1/", "/model/", azure_wire.ROOT, cohere_wire.ROOT, mistral_wire.ROOT)
"""Where addresses of models begin."""


class Seen(msgspec.Struct, kw_only=True):
    """A request to a model's address, as `GET /requests` shows it."""

    id: str
    micros: int
    request: Request
    status: int | None = None
    """None while it is unanswered."""


class Mock:
    """The app behind the socket: one server's state."""

    def __init__(self, settings: MockSettings, clock: Clock) -> None:
        self.settings = settings
        self.script = Script(settings.faults, settings.seed)
        self.bill = Bill(settings.max_rows)
        self.bench = Bench(settings=settings, clock=clock, bill=self.bill, random=Random(settings.seed))
        self.seen: deque[Seen] = deque(maxlen=settings.max_requests)
        self.connections: dict[Connection, Exchange | None] = {}
        self._cache = PromptCache()
        self._memory = responses_wire.Memory()
        self._clock = clock
        self._mark = sha256(urandom(16)).hexdigest()[:16]
        self._count = 0
        self._fingerprints: dict[str, str] = {}
        self._heard = lru_cache(maxsize=MOST_HEARD)(Heard)
        self._routes: Mapping[str, Mapping[str, Callable[[Request, Connection, Seen], None]]] = {
            "/v1/chat/completions": {"POST": self._chat},
            "/v1/responses": {"POST": self._responses},
            "/v1/embeddings": {"POST": self._embeddings},
            "/v1/rerank": {"POST": self._rerank},
            "/v1/models": {"GET": self._models},
            cohere_wire.PATH: {"POST": self._cohere},
            **{f"{root}/v1/messages": {"POST": self._messages} for root in ROOTS},
            **{f"{root}/v1/messages/count_tokens": {"POST": self._count_tokens} for root in ROOTS},
            "/": {"GET": self._about},
            "/bill": {"GET": self._show_bill, "DELETE": self._clear_bill},
            "/bill.csv": {"GET": self._show_bill},
            "/faults": {"GET": self._show_faults, "POST": self._set_faults, "DELETE": self._clear_faults},
            "/requests": {"GET": self._show_requests, "DELETE": self._clear_requests},
        }

    # the socket calls these

    def accept(self, connection: Connection) -> bool:
        self.connections[connection] = None
        return not self.script.resets()

    def lost(self, connection: Connection) -> None:
        exchange = self.connections.pop(connection, None)
        if exchange is not None:
            exchange.gone("client_gone")

    def receive(self, request: Request, connection: Connection) -> None:
        self._count += 1
        seen = Seen(id=f"req_{self._mark}{self._count:08x}", micros=self._clock.now(), request=request)
        path = request.path
        methods: Mapping[str, Callable[[Request, Connection, Seen], None]]
        if path.startswith(ASKED):
            self.seen.append(seen)
        try:
            words = wording(path)
            if words is GEMINI:
                self._generate(request, connection, seen)
                return
            if words is BEDROCK:
                self._converse(request, connection, seen)
                return
            if words is AZURE:
                path, request = azure_wire.place(request)
            elif words is MISTRAL:
                path, request = mistral_wire.place(request)
            if path.startswith("/v1/models/"):
                path, methods = "/v1/models/{id}", {"GET": self._model}
            else:
                methods = self._routes.get(path) or _no_route(request)
            action = methods.get(request.method)
            if action is None:
                raise Invalid(
                    f"Not allowed to {request.method} on {path}. (HINT: Perhaps you meant to use {' or '.join(methods)}?)",
                    status=405,
                    code="method_not_supported",
                )
            action(request, connection, seen)
        except TandemError as error:
            words = wording(request.path)
            self._reply(
                connection, request, seen, error.status, words.error(error, seen.id), words.refusal(error.status, error.code)
            )

    # the model

    def _chat(self, request: Request, connection: Connection, seen: Seen) -> None:
        key = self._key(request)
        hear = self._heard if len(request.body) <= LARGEST_HEARD else Heard
        heard = hear(request.body, _orders_in(request.headers))
        chat, told = heard.chat, heard.told
        price = self._price(chat.ask.model, "chat")
        plan = self._plan(price.model, key, told)
        if self._refused(plan, price, chat.ask.prompt_tokens, connection, request, seen, stream=chat.stream):
            return
        empty = plan.ending is not None and plan.ending.kind == "refuse"
        answers = (EMPTY,) * chat.n if empty else heard.answers()
        made = _REPLIES.get(wording(request.path), out.ChatReply)
        reply = made(chat, answers, told.cached, plan.usage)
        self._exchange(request, connection, seen, key, price, reply, plan, stream=chat.stream)

    def _responses(self, request: Request, connection: Connection, seen: Seen) -> None:
        key = self._key(request)
        asked = responses_wire.read(request.body, key, self._memory)
        ask, told = asked.ask, self._ordered(asked.ask, request)
        price = self._price(ask.model, "chat")
        plan = self._plan(price.model, key, told)
        stream, size = bool(asked.body.stream), ask.prompt_tokens
        if self._refused(plan, price, size, connection, request, seen, stream=stream):
            return
        thought, said = self._thoughtful(ask, told, plan, thinks=asked.thinks)
        reply = ResponsesReply(asked, said, thought, told.cached, plan.usage)
        if asked.body.store is not False:
            self._memory.keep(key, f"resp_{seen.id[4:]}", reply.kept(seen.id[4:]))
        self._exchange(request, connection, seen, key, price, reply, plan, stream=stream)

    def _messages(self, request: Request, connection: Connection, seen: Seen) -> None:
        key = self._key(request)
        asked = anthropic_wire.read(request.body, request.headers.get("anthropic-version"))
        ask, told = asked.ask, self._ordered(asked.ask, request)
        price = self._price(ask.model, "chat")
        plan = self._plan(price.model, key, told)
        if self._refused(plan, price, ask.prompt_tokens, connection, request, seen, stream=asked.stream):
            return
        thought, said = self._thoughtful(ask, told, plan, thinks=asked.thinks)
        prompt = self._prompted(asked.borders, price, key, told, ask.prompt_tokens, seen)
        reply = MessageReply(said, prompt, thought, plan.usage)
        self._exchange(request, connection, seen, key, price, reply, plan, stream=asked.stream)

    def _generate(self, request: Request, connection: Connection, seen: Seen) -> None:
        place = gemini_wire.PATH.fullmatch(unquote(request.path))
        if place is None or request.method != "POST":
            raise NotFound(f"The requested URL {request.path} was not found on this server.")
        stream = place["verb"] == "streamGenerateContent"
        if stream and parse_qs(request.query).get("alt") != ["sse"]:
            raise Invalid("This mock streams server-sent events only.", hint="Ask with ?alt=sse.")
        key = keys.google(request, self.settings.key)
        price = prices.TABLE.get(place["model"])
        if price is None or price.kind != "chat":
            raise NotFound(
                f"models/{place['model']} is not found for API version v1beta, or is not supported for generateContent."
            )
        asked = gemini_wire.read(request.body, price.model)
        told = self._ordered(asked.ask, request)
        plan = self._plan(price.model, key, told)
        size = asked.ask.prompt_tokens
        if self._refused(plan, price, size, connection, request, seen, stream=stream):
            return
        empty = plan.ending is not None and plan.ending.kind == "refuse"
        reply = GenerateReply(asked, EMPTY if empty else answer(asked.ask, told, 0), told.cached, plan.usage)
        self._exchange(request, connection, seen, key, price, reply, plan, stream=stream)

    def _converse(self, request: Request, connection: Connection, seen: Seen) -> None:
        place = bedrock_wire.PATH.fullmatch(request.path)
        if place is None or request.method != "POST":
            raise NotFound("Unable to determine service/operation name to be authorized", code="UnknownOperationException")
        stream = place["verb"] == "converse-stream"
        key = keys.amazon(request, self.settings.key)
        price = prices.TABLE.get(unquote(place["model"]).rpartition("/")[2])  # a profile's ARN ends with its id
        if price is None or price.kind != "chat":
            raise Invalid("The provided model identifier is invalid.")
        asked = bedrock_wire.read(request.body, price.model)
        told = self._ordered(asked.ask, request)
        plan = self._plan(price.model, key, told)
        size = asked.ask.prompt_tokens
        if self._refused(plan, price, size, connection, request, seen, stream=stream):
            return
        thought, said = self._thoughtful(asked.ask, told, plan, thinks=asked.thinks)
        prompt = self._prompted(asked.borders, price, key, told, size, seen)
        reply = ConverseReply(said, prompt, thought, plan.usage, tells_sequence=asked.tells_sequence)
        self._exchange(request, connection, seen, key, price, reply, plan, stream=stream)

    def _cohere(self, request: Request, connection: Connection, seen: Seen) -> None:
        key = self._key(request)
        asked = cohere_wire.read(request.body)
        ask, told = asked.ask, self._ordered(asked.ask, request)
        price = self._price(ask.model, "chat")
        plan = self._plan(price.model, key, told)
        if self._refused(plan, price, ask.prompt_tokens, connection, request, seen, stream=asked.stream):
            return
        thought, said = self._thoughtful(ask, told, plan, thinks=asked.thinks)
        plans = tokens.split(PLAN)
        if said.calls and (ask.limit is None or said.tokens + len(plans) <= ask.limit):
            thought = plans
        reply = CohereReply(said, ask.prompt_tokens, told.cached, thought, plan.usage)
        self._exchange(request, connection, seen, key, price, reply, plan, stream=asked.stream)

    def _ordered(self, ask: Ask, request: Request) -> Orders:
        """What the last message of the user, or a header, tells the model to do."""
        at = last_user(ask.turns)
        return orders(ask.turns[at].text if at >= 0 else "", dict(_orders_in(request.headers)))

    def _thoughtful(self, ask: Ask, told: Orders, plan: Plan, *, thinks: bool) -> tuple[Sequence[str], Answer]:
        """What the model thinks, where it is asked to and the limit leaves it room, and what it says."""
        if plan.ending is not None and plan.ending.kind == "refuse":
            return (), EMPTY
        thought: Sequence[str] = tokens.split(THOUGHT) if thinks else ()
        if ask.limit is None:
            return thought, answer(ask, told, 0)
        if len(thought) >= ask.limit:
            thought = ()
        return thought, answer(replace(ask, limit=ask.limit - len(thought)), told, 0)

    def _prompted(self, borders: Sequence[Border], price: prices.Row, key: str, told: Orders, size: int, seen: Seen) -> Prompted:
        """What of the prompt a cache gives and takes; or as much as was ordered."""
        prompt = self._cache.take(price.model, key, borders, size, seen.micros)
        return Prompted(tokens=size, read=min(told.cached, size)) if told.cached else prompt

    def _count_tokens(self, request: Request, connection: Connection, seen: Seen) -> None:
        self._key(request)
        asked = anthropic_wire.read(request.body, request.headers.get("anthropic-version"), counting=True)
        self._price(asked.ask.model, "chat")
        self._reply(connection, request, seen, 200, b'{"input_tokens":%d}' % asked.ask.prompt_tokens)

    def _embeddings(self, request: Request, connection: Connection, seen: Seen) -> None:
        key = self._key(request)
        asked = wire.read_embedding(request.body)
        price = self._price(asked.model, "embed")
        plan = self._plan(price.model, key, orders("", dict(_orders_in(request.headers))))
        if self._refused(plan, price, 0, connection, request, seen, stream=False):  # each input has a bound of its own
            return
        made = mistral_wire.MistralVectors if wording(request.path) is MISTRAL else out.EmbeddingReply
        self._exchange(request, connection, seen, key, price, made(asked, plan.usage), plan, stream=False)

    def _rerank(self, request: Request, connection: Connection, seen: Seen) -> None:
        key = self._key(request)
        asked = rerank.read(request.body)
        price = self._price(asked.model, "rerank")
        plan = self._plan(price.model, key, orders("", dict(_orders_in(request.headers))))
        if self._refused(plan, price, 0, connection, request, seen, stream=False):
            return
        self._exchange(request, connection, seen, key, price, rerank.RerankReply(asked, plan.usage), plan, stream=False)

    def _exchange(
        self,
        request: Request,
        connection: Connection,
        seen: Seen,
        key: str,
        price: prices.Row,
        reply: Spoken | Plain,
        plan: Plan,
        *,
        stream: bool,
    ) -> None:
        seen.status = 200
        arrival = Arrival(
            id=seen.id,
            micros=seen.micros,
            key=self._fingerprint(key),
            call=request.headers.get("x-tandem-call"),
            attempt=request.headers.get("x-tandem-attempt"),
            headers=self._headers(seen),
            media=wording(request.path).media,
        )
        exchange = Exchange(self.bench, connection, request, arrival, price, reply, plan)
        self.connections[connection] = exchange
        exchange.begin(stream=stream)
        if exchange.task is not None:
            exchange.task.add_done_callback(_report)

    def _refused(
        self, plan: Plan, price: prices.Row, size: int, connection: Connection, request: Request, seen: Seen, *, stream: bool
    ) -> bool:
        """Carries out a fault that keeps the request from the model; False where it lets it through.

        Raises:
            Invalid: the prompt does not fit, or is to be refused as if it did not.
        """
        words, ending = wording(request.path), plan.ending
        kind = ending.kind if ending is not None else ""
        if ending is not None and (kind == "status" or (kind == "error-after" and not stream)):
            more = {"retry-after": ending.retry_after} if ending.retry_after is not None else {}
            status = ending.status or words.overloaded
            more |= words.refusal(status, "")
            self._reply(connection, request, seen, status, words.scripted(status, seen.id), more)
            return True
        if ending is not None and kind == "refuse" and ending.word == "400":
            raise words.blocked()
        if kind == "reset":
            connection.reset()
            return True
        if kind == "context" or size > price.context:
            raise words.too_long(price.context, max(size, price.context + 1))
        return False

    def _plan(self, model: str, key: str, told: Orders) -> Plan:
        """Faults that came with the request go before the script's."""
        scripted = self.script.take(model, key) if self.script.lines else NOTHING
        if not told.fault:
            return scripted
        return plan([directed(spec) for spec in told.fault])

    def _key(self, request: Request) -> str:
        words = wording(request.path)
        look = keys.anthropic if words is ANTHROPIC else keys.azure if words is AZURE else keys.openai
        return look(request, self.settings.key)

    def _fingerprint(self, key: str) -> str:
        known = self._fingerprints.get(key)
        if known is None:
            if len(self._fingerprints) > 10_000:
                self._fingerprints.clear()
            known = self._fingerprints[key] = keys.fingerprint(key)
        return known

    def _price(self, model: str, kind: str) -> prices.Row:
        row = prices.TABLE.get(model)
        if row is None:
            raise NotFound(f"The model `{model}` does not exist or you do not have access to it.", code="model_not_found")
        if row.kind == kind:
            return row
        if kind == "chat":
            raise NotFound("This is not a chat model and thus not supported in the v1/chat/completions endpoint.", field="model")
        what = {"embed": "generate embeddings from", "rerank": "rank documents with"}[kind]
        raise Forbidden(f"You are not allowed to {what} this model.", field="model")

    def _models(self, request: Request, connection: Connection, seen: Seen) -> None:
        self._key(request)
        self._reply(connection, request, seen, 200, out.models())

    def _model(self, request: Request, connection: Connection, seen: Seen) -> None:
        self._key(request)
        name = unquote(request.path.removeprefix("/v1/models/"))
        row = prices.TABLE.get(name)
        if row is None:
            raise NotFound(f"The model '{name}' does not exist", field="model", code="model_not_found")
        self._reply(connection, request, seen, 200, out.model(row))

    # what a test asks the mock itself

    def _about(self, request: Request, connection: Connection, seen: Seen) -> None:
        about = {
            "object": "mock",
            "models": list(prices.TABLE),
            "routes": {path: list(methods) for path, methods in self._routes.items()},
            "faults": [line.fault.spec for line in self.script.lines],
            "billed": self.bill.totals.requests,
        }
        self._reply(connection, request, seen, 200, msgspec.json.encode(about))

    def _show_bill(self, request: Request, connection: Connection, seen: Seen) -> None:
        call = parse_qs(request.query).get("call", [None])[0]
        if request.path == "/bill.csv":
            self._reply(connection, request, seen, 200, self.bill.csv(call), {"content-type": "text/csv; charset=utf-8"})
        else:
            self._reply(connection, request, seen, 200, self.bill.json(call))

    def _clear_bill(self, request: Request, connection: Connection, seen: Seen) -> None:
        self.bill.clear()
        self._reply(connection, request, seen, 200, self.bill.json(None))

    def _show_faults(self, request: Request, connection: Connection, seen: Seen) -> None:
        lines = [{"fault": line.fault.spec, "seen": line.seen, "fired": line.fired} for line in self.script.lines]
        self._reply(connection, request, seen, 200, msgspec.json.encode({"object": "list", "data": lines}))

    def _set_faults(self, request: Request, connection: Connection, seen: Seen) -> None:
        try:
            given = msgspec.json.decode(request.body, type=list[str] | dict[str, list[str]])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(f"The list of faults cannot be read: {error}.", hint='Send JSON such as ["429*3"].') from None
        if isinstance(given, dict):
            if set(given) != {"faults"}:
                raise Invalid("The list of faults cannot be read.", hint='Send ["429*3"] or {"faults": ["429*3"]}.')
            given = given["faults"]
        self.script.replace(given)
        self._show_faults(request, connection, seen)

    def _clear_faults(self, request: Request, connection: Connection, seen: Seen) -> None:
        self.script.replace(())
        self._show_faults(request, connection, seen)

    def _show_requests(self, request: Request, connection: Connection, seen: Seen) -> None:
        call = parse_qs(request.query).get("call", [None])[0]
        shown = [self.shown(one) for one in self.seen if call is None or one.request.headers.get("x-tandem-call") == call]
        self._reply(connection, request, seen, 200, msgspec.json.encode({"object": "list", "data": shown}))

    def _clear_requests(self, request: Request, connection: Connection, seen: Seen) -> None:
        self.seen.clear()
        self._show_requests(request, connection, seen)

    def shown(self, seen: Seen) -> dict[str, object]:
        """A request without its key."""
        request = seen.request
        kept = len(request.body) <= LARGEST_KEPT
        return {
            "id": seen.id,
            "time": iso(seen.micros),
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "status": seen.status,
            "headers": keys.hidden(request.headers, self._fingerprint),
            "bytes": len(request.body),
            "body": _readable(request.body) if kept else None,
            "unknown": wording(request.path).unknown(request.body, request.path) if kept else None,
        }

    def _headers(self, seen: Seen) -> dict[str, str]:
        return dict(wording(seen.request.path).headers(seen.id, (self._clock.now() - seen.micros) // 1000))

    def _reply(
        self,
        connection: Connection,
        request: Request,
        seen: Seen,
        status: int,
        body: bytes,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Writes a reply that did not need the model."""
        seen.status = status
        headers = {"content-type": _JSON, **self._headers(seen), **(more or {}), "content-length": str(len(body))}
        connection.send(head(status, headers, request) + (b"" if request.method == "HEAD" else body))
        connection.finish(request)


_REPLIES = {AZURE: azure_wire.AzureReply, MISTRAL: mistral_wire.MistralReply}
"""Wordings of OpenAI's protocol that answer in their own way."""


def _no_route(request: Request) -> NoReturn:
    raise NotFound(f"Invalid URL ({request.method} {request.path})")


def _orders_in(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple([(name[7:], value) for name, value in headers.items() if name.startswith("x-mock-")])


def _readable(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body.decode("utf-8", "replace")


def _report(task: asyncio.Task[None]) -> None:
    """An exchange that broke through our own fault is told to the loop, instead of vanishing with its task."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        task.get_loop().call_exception_handler({"message": "The mock broke while it replied.", "exception": error, "task": task})
