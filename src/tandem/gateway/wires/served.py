"""Calls that the platform answers itself: predictions, decisions, answers from documents. The act the wires share."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic

import msgspec

from tandem.core.endpoint import Endpoint, EndpointKind
from tandem.core.endpoint import Target as Place
from tandem.core.errors import Invalid, NotFound, TandemError
from tandem.core.money import Price, Usage, nano
from tandem.gateway.asked import Headers, Prompted, Reply
from tandem.gateway.call import NOTHING_SENT, Call, Running, open_nested
from tandem.gateway.guard import Guarding, guarding, let_in, let_out
from tandem.gateway.routing import shadow
from tandem.gateway.routing.order import order
from tandem.gateway.snapshot import Served
from tandem.gateway.target import Answer, Nested, Question, Target
from tandem.gateway.translate import Collected
from tandem.gateway.upstream import Hosts
from tandem.gateway.wires import openai
from tandem.gateway.wires.answer import answer

JSON = (b"content-type", b"application/json")
WORK = frozenset({"infer", "decide", "chat"})
"""Verbs that are paid for; the others ask what there is."""


class Answering:
    """Everything that answers calls on this door: hosts of language models, and targets by kind."""

    def __init__(self, hosts: Hosts, targets: Mapping[str, Target]) -> None:
        self.hosts = hosts
        self.targets = targets

    async def ask(self, call: Call, verb: str, address: str, body: bytes, header: int | None = None) -> Answer:
        """Asks the target behind an address, for a caller that was identified. Begins, ends and attributes the attempt.

        Args:
            header: bytes of the JSON in front of binary tensors.

        Raises:
            TandemError: refused, not found, or the target failed.
        """
        endpoint = call.enter(address)
        guards = guarding(call) if call.kind == "decide" and verb == "decide" else None
        if guards is not None:
            body = await let_in(call, guards, body)
        answer = await self._ask(call, verb, endpoint, body, guards, header)
        if verb == "infer":
            self._shadows(call, endpoint, body, header)
        return answer

    def _shadows(self, call: Call, endpoint: Endpoint, body: bytes, header: int | None) -> None:
        """Has the shadows of a predict endpoint hear a call that is answered, each its share."""

        async def ask(heard: Call) -> None:
            assert heard.endpoint is not None
            heard.close("ok", (await self._ask(heard, "infer", heard.endpoint, body, None, header)).status)

        for place in endpoint.route:
            if place.role == "shadow" and call.door.dice.random() < place.share:
                shadow.begin(self.hosts.shadows, call, place, ask)

    async def all_of(self, call: Call, verb: str, address: str) -> None:
        """Has every target of a route do what is free: `load` or `unload`.

        Raises:
            TandemError: as `ask`; of the first target that fails.
        """
        endpoint = call.enter(address)
        for place in endpoint.route:
            await self._ask(call, verb, replace(endpoint, route=(place,)), b"", None)

    async def from_documents(self, call: Call, asked: Prompted, reply: Reply, guards: Guarding | None) -> None:
        """Answers a chat call whose endpoint leads into an index, whole or as a stream of the finished answer.

        Args:
            guards: have looked at the question already; they look at the answer.

        Raises:
            TandemError: as `ask`; nothing was sent to the caller yet.
        """
        assert call.endpoint is not None
        answer = await self._ask(call, "chat", call.endpoint, asked.body, guards)
        call.close("ok", answer.status)
        trace = (b"x-tandem-trace-id", call.trace.encode())
        if asked.stream:
            reply.begin(answer.status, [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), trace])
            reply.write(as_stream(answer.body, with_usage=asked.wants_usage))
            reply.end()
        else:
            reply.send(answer.status, [JSON, trace], answer.body)

    async def _ask(
        self, call: Call, verb: str, endpoint: Endpoint, body: bytes, guards: Guarding | None, header: int | None = None
    ) -> Answer:
        address = call.address
        chosen = drawn(endpoint.route, call.door.dice)
        served = call.snapshot.served.get(chosen.target)
        direct = endpoint.name == chosen.target  # an endpoint's own targets were looked at when it was compiled
        if served is None or (direct and not _shown(call, served)):
            raise NotFound(f"{chosen.target}, which '{address}' serves, is not here.", hint="`tandem doctor` checks every route.")
        call.request = body if header is None else body[: max(0, header)]
        call.attributes["versions"] = {**_versions(call), served.ref: {"digest": served.digest, **served.attributes}}
        price = _price(call, endpoint) if verb in WORK else None
        if call.admit_seconds(endpoint.timeouts.total, price):
            await call.reserve()
        began = call.begin(served.ref, f"{verb} {endpoint.name}", {"tandem.asset": served.ref}, price)
        question = Question(
            verb=verb,
            served=served,
            body=body,
            seconds=endpoint.timeouts.total,
            trace=call.trace,
            nested=self._nested(call, monotonic() + endpoint.timeouts.total),
            principal=call.principal,
            at=call.start,
            model=endpoint.model,
            header=header,
            prompt=lambda ref: _prompt(call, ref, _team(served)),
        )
        try:
            answer = await self.targets[call.kind].answer(question)
        except TandemError as error:
            call.end(error.code, _worked(call, began, price), error.message)
            raise
        call.attributes.update(answer.attributes)
        call.notes = answer.notes
        if guards is not None:
            kept, said = await let_out(call, guards, answer.body)
            answer = replace(answer, body=said)
        elif answer.kept is not None:
            call.request, kept = answer.kept
        else:
            kept = answer.body
        call.keep(kept)
        call.end("ok", _worked(call, began, price))
        return answer

    def _nested(self, parent: Call, deadline: float) -> Nested:
        async def nested(kind: str, address: str, body: bytes, attributes: Mapping[str, object]) -> Answer:
            if kind not in ("chat", "embed", "predict"):
                raise Invalid(f"A decision may chat, embed or predict, not {kind}.")
            call = open_nested(parent, kind, attributes)  # type: ignore[arg-type]  # checked above
            own = self.from_documents
            if parent.kind == "chat":  # our own code asks for what the endpoint's owner has set up, and only that
                call.granted, own = _granted(parent, address, call.kind), _refused
            if kind == "predict":
                return await self._nested_target(call, address, body)
            collected = Collected()
            await answer(self.hosts, openai.SPOKEN, call, None, body, (), collected, own)
            return Answer(status=collected.status, body=collected.body)

        return nested

    async def _nested_target(self, call: Call, address: str, body: bytes) -> Answer:
        try:
            answer = await self.ask(call, "infer", address, body)
            call.close("ok", answer.status)
            return answer
        except TandemError as error:
            call.close(error.code, error.status, error)
            raise
        finally:
            call.close("gone", 499)

    async def close(self) -> None:
        for target in self.targets.values():
            await target.close()
        await self.hosts.close()


def drawn(route: Sequence[Place], dice: random.Random) -> Place:
    """Who answers: each canary its share of the calls, the others what is left by weight and priority; no shadow."""
    others = [place for place in route if place.role == "serve"]
    if len(others) < len(route) and others:
        point = dice.random()
        for place in route:
            if place.role == "canary":
                if point < place.share:
                    return place
                point -= place.share
    return order(others or route, dice)[0]


def _price(call: Call, endpoint: Endpoint) -> Price | None:
    """What an hour of our own work costs at an endpoint; None where nobody set a price."""
    hour = nano(endpoint.hour_price) if endpoint.hour_price else call.snapshot.hour_price
    return Price(input=0, output=0, compute=hour, source="hour_price") if hour else None


def _worked(call: Call, began: Running, price: Price | None) -> Usage:
    """The time that an answer took, where it is paid for."""
    if price is None:
        return NOTHING_SENT
    return Usage(compute=max(0, call.door.clock.now() - began.span.start), source="provider")


def _granted(parent: Call, address: str, kind: EndpointKind) -> Endpoint:
    """Where the model is asked that an endpoint over documents names, or the embedder that its index names.

    Raises:
        NotFound: it is not there, or is another team's.
    """
    around = parent.endpoint
    assert around is not None
    found = parent.snapshot.endpoints.get(address)
    if found is not None and found.kind == kind and found.team in ("default", around.team):
        return found
    if found is None and "/" in address and address.partition("/")[0] in parent.snapshot.hosts:
        return replace(around, kind=kind, name=address, route=(Place(target=address),), model="")
    raise NotFound(
        f"'{address}', which '{around.name}' needs for its answers, does not answer {kind} calls.",
        hint="`tandem endpoint list` shows what there is; set the endpoint's model anew.",
    )


async def _refused(call: Call, asked: Prompted, reply: Reply, guards: Guarding | None) -> None:
    raise Invalid("An answer from documents cannot be written by another one.", hint="Let a language model write it.")


def as_stream(completion: bytes, *, with_usage: bool) -> bytes:
    """A finished chat completion as the frames of a stream, ended as OpenAI ends one."""
    whole = msgspec.json.decode(completion)
    message = whole["choices"][0]["message"]
    told = {"id": whole["id"], "object": "chat.completion.chunk", "created": whole["created"], "model": whole["model"]}
    deltas: list[tuple[dict[str, object], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": piece}, None) for piece in re.findall(r"\S+\s*|\s+", message["content"])]
    deltas.append(({name: value for name, value in message.items() if name not in ("role", "content", "refusal")}, "stop"))
    frames: list[dict[str, object]] = [
        {**told, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} for delta, finish in deltas
    ]
    if with_usage:
        frames.append({**told, "choices": [], "usage": whole["usage"]})
    return b"".join(b"data: " + msgspec.json.encode(frame) + b"\n\n" for frame in frames) + b"data: [DONE]\n\n"


def _prompt(call: Call, ref: str, team: str) -> Served:
    """The prompt that a version of this team names."""
    prompt = call.snapshot.prompts.get(ref)
    if prompt is None or _team(prompt) not in ("default", team):
        raise NotFound(f"There is no {ref} to use.", hint="Promote a version of it: `tandem promote prompt/NAME@1 production`.")
    call.attributes["versions"] = {**_versions(call), prompt.ref: {"digest": prompt.digest, **prompt.attributes}}
    return prompt


def _shown(call: Call, served: Served) -> bool:
    """Whether the caller's team may see this version; admins see all."""
    assert call.principal is not None
    return call.principal.may("admin") or _team(served) in ("default", call.principal.team)


def _team(served: Served) -> str:
    return str(served.attributes.get("team", "default"))


def _versions(call: Call) -> dict[str, object]:
    known = call.attributes.get("versions")
    return known if isinstance(known, dict) else {}


def refusal(error: TandemError, trace: str) -> tuple[int, Headers, bytes]:
    """An error in the Open Inference Protocol's shape, with our code, field and hint beside it."""
    headers: Headers = [JSON, (b"x-tandem-trace-id", trace.encode())]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(0, round(error.retry_after + 0.5))))
    body = {"error": error.said, "code": error.code, "field": error.field, "hint": error.hint, "trace": trace}
    return error.status, headers, msgspec.json.encode(body)
