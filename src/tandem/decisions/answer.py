"""Answers from documents: search as the caller, write from what was found, cite only what stands there word for word.

A `gateway.target.Target` for chat endpoints whose route leads into an index. Who writes is the endpoint's `model`, asked
through the door as a call inside this one; without one, the built-in `extractive` model shows the sentences that
fit best, and says that this is what it does. It knows no wire and no provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tandem.core.asset import Ref
from tandem.core.clock import MICROS
from tandem.core.errors import Broken, Invalid, TandemError
from tandem.data.corpus import hashed
from tandem.data.corpus.quote import Citation, extract
from tandem.data.corpus.rights import readers_of
from tandem.data.corpus.shelf import DOOR, QUERY_CHARACTERS, Card, Shelf
from tandem.decisions.write import SILENT, Written, instructions, read_written
from tandem.gateway.target import Answer, Question
from tandem.store.search import Hit, Query, document_id
from tandem.store.vectors import pack

EXTRACTIVE = "extractive"
SHOWN = 8
"""Chunks that an answer is written from."""
OPENING = "These are sentences from the documents, chosen by the extractive model; no language model wrote this answer."
PASSED = ("temperature", "top_p", "seed", "max_tokens", "max_completion_tokens", "user", "safety_identifier")
"""Fields of the request that go on to the model that writes."""


class _Message(msgspec.Struct):
    role: str
    content: object = None


class _Asked(msgspec.Struct):
    messages: list[_Message]
    n: int | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    model: str = ""
    usage: dict[str, object] | None = None


class _Vector(msgspec.Struct):
    embedding: list[float]


class _Embedded(msgspec.Struct):
    data: list[_Vector]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer before it has a wire's shape."""

    text: str
    citations: tuple[Citation, ...]
    unverified: int
    """Quotations that the model gave and that stand nowhere; they are not shown."""
    model: str
    usage: Mapping[str, object]
    draft: str | None = None
    """What the model wrote, before it was checked."""


class Answers:
    """Answers chat calls from indexes."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def answer(self, question: Question) -> Answer:
        """Answers the last message of the user.

        Raises:
            Invalid: there is no such message, or several answers are wanted.
            TandemError: the model that writes, or the one that embeds, refused or failed.
        """
        asked = _asked(question.body)
        text = next((_text(message) for message in reversed(asked.messages) if message.role == "user"), "").strip()
        if not text:
            raise Invalid("There is no question: no message of the user holds text.", field="messages")
        hits = await self._search(question, text)
        if not hits:
            said = Said(text=SILENT, citations=(), unverified=0, model=question.model or EXTRACTIVE, usage=_NOTHING)
        elif question.model:
            said = await _written(question, asked, text, hits)
        else:
            said = _extracted(text, hits)
        return Answer(body=_completion(said, question), attributes=_told(said, hits), notes=_kept(said, hits))

    async def close(self) -> None:
        """Gives the connections of the searches back."""
        self._shelf.close()

    async def _search(self, question: Question, text: str) -> tuple[Hit, ...]:
        """The chunks that the caller may read and that fit; the search runs beside the event loop."""
        assert question.principal is not None
        card, readers = _card(question), readers_of(question.principal)
        corpus = self._shelf.corpus(Ref.parse(question.served.ref).name)
        text = text[:QUERY_CHARACTERS]
        vector = None
        if card.embedder.startswith(DOOR):
            vector = await _embedded(question, card.embedder.removeprefix(DOOR), text)

        def search() -> tuple[Hit, ...]:
            if vector is None:
                query = Query(text=text, vector=hashed.embed(text), limit=SHOWN, weight=hashed.WEIGHT)
            else:
                query = Query(text=text, vector=vector, limit=SHOWN)
            return corpus.search(card.store, query, readers)

        return await asyncio.to_thread(search)


_NOTHING: Mapping[str, object] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def _card(question: Question) -> Card:
    try:
        return msgspec.json.decode(question.served.meta, type=Card)
    except msgspec.DecodeError as error:
        raise Broken(f"{question.served.ref} does not say what it is: {error}.") from None


def _asked(body: bytes) -> _Asked:
    try:
        asked = msgspec.json.decode(body, type=_Asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("The messages are not valid.", words=f"{error}.", field="messages") from None
    if asked.n is not None and asked.n > 1:
        raise Invalid("An endpoint over documents gives one answer.", field="n", hint="Leave n out.")
    return asked


def _text(message: _Message) -> str:
    """The text of a message, whether it stands alone or in parts."""
    if isinstance(message.content, str):
        return message.content
    parts = message.content if isinstance(message.content, list) else []
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


async def _embedded(question: Question, endpoint: str, text: str) -> bytes:
    body = msgspec.json.encode({"model": endpoint, "input": [text], "encoding_format": "float"})
    answer = await question.nested("embed", endpoint, body, {"purpose": "retrieval"})
    _raise(answer, endpoint)
    try:
        return pack(msgspec.json.decode(answer.body, type=_Embedded).data[0].embedding)
    except (msgspec.DecodeError, IndexError):
        raise Broken(f"The endpoint '{endpoint}' answered without a vector.", hint="Is it of the kind embed?") from None


async def _written(question: Question, asked: _Asked, text: str, hits: tuple[Hit, ...]) -> Said:
    """The answer of the endpoint's model, with every quotation looked up in the chunk it names."""
    given = msgspec.json.decode(question.body)
    earlier = _before(asked.messages)
    messages = [
        {"role": "system", "content": instructions()},
        *({"role": message.role, "content": _text(message)} for message in earlier),
        {"role": "user", "content": instructions(text, hits)},
    ]
    body = {
        "model": question.model,
        "messages": messages,
        **{name: given[name] for name in PASSED if given.get(name) is not None},
    }
    answer = await question.nested("chat", question.model, msgspec.json.encode(body), {"purpose": "answer from documents"})
    _raise(answer, question.model)
    try:
        completion = msgspec.json.decode(answer.body, type=_Completion)
        draft = _text(completion.choices[0].message)
    except (msgspec.DecodeError, IndexError):
        raise Broken(f"'{question.model}' answered without a message.", hint="Is it a chat endpoint?") from None
    written: Written = read_written(draft, hits)
    return Said(
        text=written.text,
        citations=written.citations,
        unverified=written.unverified,
        model=completion.model or question.model,
        usage=completion.usage or _NOTHING,
        draft=draft,
    )


def _before(messages: Sequence[_Message]) -> Sequence[_Message]:
    """Everything before the last message of the user that a model may be told."""
    last = max(place for place, message in enumerate(messages) if message.role == "user")
    return [message for message in messages[:last] if message.role in ("system", "developer", "user", "assistant")]


def _extracted(text: str, hits: tuple[Hit, ...]) -> Said:
    citations = extract(text, hits)
    if not citations:
        return Said(text=SILENT, citations=(), unverified=0, model=EXTRACTIVE, usage=_NOTHING)
    lines = [f"“{citation.quote}” [{number}]" for number, citation in enumerate(citations, start=1)]
    return Said(text="\n\n".join([OPENING, *lines]), citations=citations, unverified=0, model=EXTRACTIVE, usage=_NOTHING)


def _raise(answer: Answer, who: str) -> None:
    """Passes a refusal on, with its status and code; its words go to the caller alone."""
    if answer.status < 400:
        return
    try:
        error = msgspec.json.decode(answer.body)["error"]
        code, words = str(error.get("code") or "refused"), str(error.get("message") or "")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError):
        code, words = "refused", ""
    raise TandemError(f"The call of '{who}' for this answer was refused ({code}).", words=words, status=answer.status, code=code)


def _completion(said: Said, question: Question) -> bytes:
    """The answer as an OpenAI chat completion; `citations` is a further member of its message."""
    citations = [
        {
            "number": number,
            "chunk": citation.hit.chunk,
            "document": citation.hit.document,
            "title": citation.hit.title,
            "heading": citation.hit.heading,
            "page": citation.hit.page,
            "start": citation.start,
            "end": citation.end,
            "quote": citation.quote,
            "verified": True,
        }
        for number, citation in enumerate(said.citations, start=1)
    ]
    message = {"role": "assistant", "content": said.text, "refusal": None, "citations": citations}
    return msgspec.json.encode(
        {
            "id": f"chatcmpl-{question.trace}",
            "object": "chat.completion",
            "created": question.at // MICROS,
            "model": said.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": said.usage,
        }
    )


def _told(said: Said, hits: tuple[Hit, ...]) -> dict[str, object]:
    """For the trace, in the clear: which chunks of which documents were shown at which ranks, never names or words."""
    shown = [
        {"chunk": hit.chunk, "document": document_id(hit.document), "rank": hit.rank, "bm25": hit.bm25, "vector": hit.vector}
        for hit in hits
    ]
    return {
        "retrieval": {
            "chunks": shown,
            "citations": len(said.citations) + said.unverified,
            "verified": len(said.citations),
            "answered": bool(said.citations),
            "model": said.model,
        }
    }


def _kept(said: Said, hits: tuple[Hit, ...]) -> dict[str, object]:
    """For the trace, sealed with the content."""
    shown = [{"chunk": hit.chunk, "document": hit.document, "start": hit.start, "end": hit.end, "text": hit.text} for hit in hits]
    quotes = [{"chunk": citation.hit.chunk, "quote": citation.quote} for citation in said.citations]
    return {"shown": shown, "quotes": quotes, **({} if said.draft is None else {"draft": said.draft})}
