"""A chat or embeddings call, answered: the act that all wires of language models share. Which wire it is, it is told.

identify -> read -> enter -> guard in -> from documents, or from hosts in the order of the route
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from tandem.core.canon import classed
from tandem.core.endpoint import EndpointKind
from tandem.core.errors import OverBudget, RateLimited, TandemError
from tandem.gateway import cache, translate
from tandem.gateway.asked import Fields, Headers, Prompted, Read, Reply
from tandem.gateway.cache import Cache
from tandem.gateway.call import Call
from tandem.gateway.forward import forward
from tandem.gateway.guard import Guarding, guarding, let_in
from tandem.gateway.routing import wishes as wished
from tandem.gateway.snapshot import INDEX
from tandem.gateway.upstream import Hosts

Own = Callable[[Call, Prompted, Reply, Guarding | None], Awaitable[None]]
"""Answers a chat call whose route leads into an index, not to a host; in OpenAI's words."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What differs between wires before and after the act."""

    read: Callable[[EndpointKind, bytes, Fields], Read]
    """Understands a request; raises Invalid with the field that is wrong."""
    refusal: Callable[[TandemError, str], tuple[int, Headers, bytes]]
    """An error and the trace's id as status, headers and body of this wire."""


async def answer(
    hosts: Hosts, spoken: Spoken, call: Call, token: str | None, body: bytes, headers: Fields, reply: Reply, own: Own
) -> None:
    """Answers one call, whatever happens; `own` answers those from documents."""
    try:
        await _answer(hosts, spoken, call, token, body, headers, reply, own)
    except TandemError as error:
        if call.closed:
            raise
        status, fields, text = spoken.refusal(error, call.trace)
        fields += told(error)
        call.close(error.code, status, error)
        reply.send(status, fields, text)
    finally:
        call.close("gone", 499)


async def _answer(
    hosts: Hosts, spoken: Spoken, call: Call, token: str | None, body: bytes, headers: Fields, reply: Reply, own: Own
) -> None:
    call.request = body
    if call.principal is None:
        call.identify(token)  # before the body is read: a stranger learns nothing from its faults
    read = spoken.read(call.kind, body, headers)
    address, sort = wished.named(read.address, call.snapshot.endpoints)
    endpoint = call.enter(address)
    if read.wishes is not None or sort is not None:
        read = _as_wished(call, read, sort)
        endpoint = call.endpoint or endpoint
    call.subject = call.subject or read.subject
    guards = guarding(call)
    if guards is not None:
        let = spoken.read(call.kind, await let_in(call, guards, read.asked.body), headers)
        read = msgspec.structs.replace(let, asked=msgspec.structs.replace(let.asked, wishes=read.asked.wishes))
    if endpoint.route[0].target.startswith(INDEX):
        if read.asked.dialect == "openai":
            await own(call, read.asked, reply, guards)
        else:
            await translate.through_openai(own, call, read.asked, reply, guards)
        return
    asked = bounded(read, endpoint.max_output_tokens, capped=call.has_caps)
    records = endpoint.record_content and call.principal is not None and call.principal.content
    kept = hosts.cache if endpoint.cache_seconds and records and not asked.changes else None
    if kept is None:
        await forward(hosts, call, asked, reply, guards)
    else:
        await _remembered(kept, hosts, call, asked, body, reply, guards)


async def _remembered(
    kept: Cache, hosts: Hosts, call: Call, asked: Prompted, body: bytes, reply: Reply, guards: Guarding | None
) -> None:
    """Answers as before, where the same was asked before; else keeps the answer for the next who asks."""
    assert call.endpoint is not None
    key = cache.key_of(call, asked, body, guards)
    found = None if call.anew else kept.find(key)
    call.door.metrics.remembered(found is not None)
    if found is not None:
        await cache.give(call, found, reply)
        return
    teed = cache.Teed(reply)
    await forward(hosts, call, asked, teed, guards)
    answered = cache.take(call, teed)
    if answered is not None:
        kept.keep(key, cache.subject_of(call), answered, begun=call.start, seconds=call.endpoint.cache_seconds)


def _as_wished(call: Call, read: Read, sort: wished.Sort | None) -> Read:
    """The request without what it wishes of the route, which is the call's from now on; a broker is left to read it itself."""
    assert call.endpoint is not None
    assert call.principal is not None
    wishes = read.wishes or wished.Wishes()
    if read.wishes is not None and wished.brokered(call.endpoint, call.snapshot.hosts):
        return read
    call.endpoint = wished.wished(call.endpoint, wishes, sort, call.snapshot, call.principal)
    body = read.asked.body if read.wishes is None else wished.cut(read.asked.body)
    return msgspec.structs.replace(read, asked=msgspec.structs.replace(read.asked, body=body, wishes=wishes.provider))


def told(error: TandemError) -> Headers:
    """What headers tell of an error, whatever the body's form.

    `x-tandem-fault: provider.rate_limited` is its class, `x-tandem-limit: key/demo:requests/minute` the cap that refused.
    """
    headers = [(b"x-tandem-fault", classed(error).label.encode())]
    if isinstance(error, OverBudget | RateLimited) and error.field is not None:
        headers.append((b"x-tandem-limit", error.field.encode()))
    return headers


def bounded(read: Read, tokens: int, *, capped: bool) -> Prompted:
    """The request with an upper bound of its output: its own, else the endpoint's.

    Args:
        tokens: the endpoint's default, per choice.
        capped: whether a hard cap exists; then the bound is written into the request, so that it holds.
    """
    if read.declared:
        return read.asked
    edits = {**read.asked.edits, read.asked.bound: b"%d" % tokens} if capped else read.asked.edits
    return msgspec.structs.replace(read.asked, edits=edits, tokens_out=tokens * read.choices)
