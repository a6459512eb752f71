"""Reranking by common words, in the form that Cohere, Jina and vLLM share: POST /v1/rerank. No model, no library.

Forms: https://docs.cohere.com/reference/rerank, https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html.
A score is the share of words that the query and a document have in common (Jaccard, 1901), so that it can be foretold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from tandem.core.errors import Invalid
from tandem.mock import tokens
from tandem.mock.openai_reply import WRONG_BY, Stamp, UsageFault

_WORD = re.compile(r"\w+")


class _Document(msgspec.Struct):
    text: str


class RerankBody(msgspec.Struct):
    """The members of a request that change what the mock does."""

    model: str
    query: str
    documents: list[str | _Document]
    top_n: int | None = None
    return_documents: bool | None = None


_body = msgspec.json.Decoder(RerankBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """A request to rank documents, read."""

    model: str
    query: str
    documents: tuple[str, ...]
    most: int
    """Results that are wanted."""
    shows: bool
    """Whether they hold their documents."""
    prompt_tokens: int
    """The query is read with every document."""


def read(body: bytes) -> RerankRequest:
    """Reads the body of `POST /v1/rerank`.

    Raises:
        Invalid: as such a host would refuse it.
    """
    try:
        asked = _body.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"Invalid body: {error}.") from None
    texts = tuple(each if isinstance(each, str) else each.text for each in asked.documents)
    if not texts:
        raise Invalid("Invalid 'documents': at least one is needed.", field="documents")
    if asked.top_n is not None and asked.top_n < 1:
        raise Invalid("Invalid 'top_n': it must be at least 1.", field="top_n")
    size = len(texts) * tokens.count(asked.query) + sum(map(tokens.count, texts))
    most = len(texts) if asked.top_n is None else min(asked.top_n, len(texts))
    shows = asked.return_documents is not False
    return RerankRequest(model=asked.model, query=asked.query, documents=texts, most=most, shows=shows, prompt_tokens=size)


def score(query: str, document: str) -> float:
    """How near a document is to a query, between 0 and 1.

    >>> score("refund period", "The refund period"), score("refund", "shoes")
    (0.6666666666666666, 0.0)
    """
    asked, told = (set(_WORD.findall(text.lower())) for text in (query, document))
    return len(asked & told) / len(asked | told) if asked | told else 0.0


class RerankReply:
    """The documents of one request in their order."""

    tokens = 0
    cached_tokens = written_tokens = written_hour_tokens = 0

    def __init__(self, request: RerankRequest, usage: UsageFault) -> None:
        self._request = request
        self.prompt_tokens = request.prompt_tokens
        self._fault = usage

    def whole(self, stamp: Stamp) -> bytes:
        """The body of the reply."""
        asked = self._request
        scores = [score(asked.query, text) for text in asked.documents]
        order = sorted(range(len(scores)), key=lambda at: (-scores[at], at))[: asked.most]
        results = [
            {"index": at, "relevance_score": scores[at]} | ({"document": {"text": asked.documents[at]}} if asked.shows else {})
            for at in order
        ]
        count = self.prompt_tokens + (WRONG_BY if self._fault == "wrong" else 0)
        usage = {} if self._fault == "missing" else {"usage": {"total_tokens": count}}
        return msgspec.json.encode({"id": f"rerank-{stamp.mark}", "model": stamp.model, "results": results, **usage})
