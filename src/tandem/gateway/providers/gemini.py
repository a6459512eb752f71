"""Google's generateContent towards an upstream: chats for callers of every dialect. Nobody's bytes pass through it.

Source: https://ai.google.dev/api/generate-content. Every chunk of a stream repeats the usage, so the last
counts; thoughts are counted beside the answer, cached tokens among those of the prompt; calls of tools come
whole, often without an id, and end with STOP; a stream ends with a finish reason, and says nothing after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import assert_never
from urllib.parse import quote

import msgspec

from tandem.core.chat import Begin, Chat, Delta, Finish, Reason, TextDelta, ThinkingDelta, ToolDelta, Used
from tandem.core.errors import Invalid, Upstream
from tandem.core.money import Usage
from tandem.gateway.providers.base import Ask, Verb
from tandem.gateway.providers.gemini_put import Put, encode

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
JSON = (b"content-type", b"application/json")
REASONS: dict[str, Reason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
}
"""Ends of an answer; any other one, such as MALFORMED_FUNCTION_CALL, is a failure of the model."""
_CLASSES = {
    "UNAUTHENTICATED": "auth",
    "PERMISSION_DENIED": "auth",
    "FAILED_PRECONDITION": "auth",  # no free tier where the account is, or no billing
    "NOT_FOUND": "not_found",
    "UNAVAILABLE": "overloaded",
    "INTERNAL": "upstream_5xx",
    "UNKNOWN": "upstream_5xx",
    "DEADLINE_EXCEEDED": "upstream_5xx",
}
_TOO_LONG = re.compile(r"token count .*exceeds the maximum|exceeds the maximum number of tokens", re.IGNORECASE | re.DOTALL)
_SPENT = re.compile(r"credits are depleted|spending cap|spend limit", re.IGNORECASE)
_BLOCKED = re.compile(r"blocked.*(safety|policy)|prohibited content", re.IGNORECASE | re.DOTALL)
_NOTHING = msgspec.Raw(b"{}")


class _Call(msgspec.Struct):
    name: str
    id: str | None = None
    args: msgspec.Raw = _NOTHING


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _Call | None = None
    inline_data: object = None
    file_data: object = None
    executable_code: object = None
    code_execution_result: object = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Share(msgspec.Struct, rename="camel"):
    modality: str | None = None
    token_count: int | None = None


class _Counts(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    prompt_tokens_details: list[_Share] | None = None
    cache_tokens_details: list[_Share] | None = None
    candidates_tokens_details: list[_Share] | None = None


class _Violation(msgspec.Struct, rename="camel"):
    quota_id: str | None = None
    quota_value: str | int | None = None


class _Detail(msgspec.Struct):
    reason: str | None = None
    violations: list[_Violation] | None = None


class _Error(msgspec.Struct):
    code: int | None = None
    message: str | None = None
    status: str | None = None
    details: list[_Detail] | None = None


class _Reply(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Counts | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: _Error | None = None


class _Failed(msgspec.Struct):
    error: _Error | None = None


class _Usage(msgspec.Struct, rename="camel"):
    usage_metadata: _Counts | None = None


_reply = msgspec.json.Decoder(_Reply)
_failed = msgspec.json.Decoder(_Failed | list[_Failed])
_usage = msgspec.json.Decoder(_Usage)


class GeminiReader:
    """One answer, read frame by frame."""

    def __init__(self) -> None:
        self.ended = False
        self._begun = False
        self._calls = 0
        self._id = ""

    def feed(self, payload: bytes) -> list[Delta]:
        try:
            reply = _reply.decode(payload)
        except UNREADABLE:
            raise Upstream("Gemini sent an event that cannot be read.", code="malformed_stream") from None
        if reply.error is not None:
            raise Upstream("Gemini ended its answer with an error.", code=_class(reply.error.code or 0, reply.error))
        return list(self._deltas(reply))

    def _deltas(self, reply: _Reply) -> Iterator[Delta]:
        if not self._begun:
            self._begun = True
            self._id = reply.response_id or ""
            yield Begin(id=self._id, model=reply.model_version or "")
        candidate = reply.candidates[0] if reply.candidates else None
        content = candidate.content if candidate is not None else None
        for part in (content.parts or ()) if content is not None else ():
            yield from self._part(part)
        used = _canonical(reply.usage_metadata)
        if used is not None:
            yield Used(usage=used)
        reason = candidate.finish_reason if candidate is not None else None
        blocked = candidate is None and reply.prompt_feedback is not None and reply.prompt_feedback.block_reason
        if (reason or blocked) and not self.ended:
            self.ended = True
            yield Finish(reason=self._reason(reason) if reason else "content_filter")

    def _part(self, part: _Part) -> Iterator[Delta]:
        if part.function_call is not None:
            yield self._call(part.function_call, part.thought_signature or "")
        elif part.thought:
            if part.text or part.thought_signature:
                yield ThinkingDelta(text=part.text or "", signature=part.thought_signature or "")
        elif part.text is not None:  # the proof that a text may bear is not asked for again
            if part.text:
                yield TextDelta(text=part.text)
        elif part.inline_data or part.file_data or part.executable_code or part.code_execution_result:
            raise Upstream("Gemini answered with a file or with code, which cannot be passed on.", code="malformed_stream")

    def _call(self, call: _Call, signature: str) -> ToolDelta:
        place, self._calls = self._calls, self._calls + 1
        arguments = bytes(call.args)
        written = msgspec.json.format(arguments, indent=-1).decode() if arguments not in (b"", b"null") else "{}"
        return ToolDelta(
            place=place,
            id=call.id or _made_id(self._id, place, call.name, written),
            name=call.name,
            arguments=written,
            signature=signature,
        )

    def _reason(self, said: str) -> Reason:
        reason = REASONS.get(said)
        if reason is None:
            shown = said if re.fullmatch(r"[A-Z_]{1,64}", said) else "for a reason it did not name"
            raise Upstream(f"Gemini could not finish its answer: {shown}.")
        return "tool_calls" if reason == "stop" and self._calls else reason


class Gemini:
    """Chats as Google's Gemini API speaks them."""

    name = "gemini"
    dialect = ""

    def ask(self, verb: Verb, body: bytes, edits: Mapping[str, bytes], key: str | None) -> Ask:
        match verb:
            case "chat":
                raise Invalid("No caller speaks Gemini's protocol; a chat is translated.", field="protocol")
            case "embed":  # their vectors come in another shape, which the door cannot turn into the caller's
                raise Invalid(
                    "Embeddings are not translated for Gemini.",
                    hint="Use Google's compatibility address: protocol = 'openai', base_url = '…/v1beta/openai'.",
                    field="model",
                )
            case "rerank":
                raise Invalid(
                    "The provider's protocol has no reranking.",
                    hint="Choose a provider that speaks OpenAI's protocol and has /rerank, for an endpoint of the kind rerank.",
                    field="model",
                )
            case _:
                assert_never(verb)

    def put(self, chat: Chat, model: str, key: str | None) -> Ask:
        model = model.removeprefix("models/")
        put = Put(chat, model)
        body = encode(put.body())
        verb = "streamGenerateContent?alt=sse" if chat.stream else "generateContent"
        return Ask(
            path=f"/models/{quote(model, safe='')}:{verb}",
            headers=(JSON, (b"x-goog-api-key", key.encode())) if key else (JSON,),  # never in the address, which is logged
            body=body,
            dropped=tuple(put.dropped),
            single=put.single,
        )

    def whole(self, body: bytes) -> list[Delta]:
        reader = GeminiReader()
        try:
            said = reader.feed(body)
        except Upstream as error:
            if error.code != "malformed_stream":
                raise
            raise Upstream("Gemini's answer cannot be read.", code="malformed_reply") from None
        if not reader.ended:
            raise Upstream("Gemini's answer has no end.", code="malformed_reply")
        return said

    def reader(self) -> GeminiReader:
        return GeminiReader()

    def usage(self, body: bytes) -> Usage | None:
        try:
            return _canonical(_usage.decode(body).usage_metadata)
        except UNREADABLE:
            return None

    def fault(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str:
        try:
            failed = _failed.decode(body)
        except UNREADABLE:
            failed = _Failed()
        if isinstance(failed, list):  # a stream without `alt=sse` is a list, its refusal too
            failed = failed[0] if failed else _Failed()
        return _class(status, failed.error or _Error())


def _class(status: int, error: _Error) -> str:
    """The canonical class of an error; Google's own status says more than HTTP's."""
    said, message = error.status or "", error.message or ""
    details = error.details or ()
    if said == "RESOURCE_EXHAUSTED" or (status == 429 and not said):
        broken = [violation for detail in details for violation in detail.violations or ()]
        spent = any("PerDay" in (one.quota_id or "") or str(one.quota_value) == "0" for one in broken)
        return "quota" if spent or _SPENT.search(message) else "rate_limited"
    if any((detail.reason or "").startswith("API_KEY_") for detail in details):  # a wrong key is a 400 here
        return "auth"
    if said in _CLASSES:
        return _CLASSES[said]
    if said == "INVALID_ARGUMENT" or status == 400:
        if _TOO_LONG.search(message):
            return "context_exceeded"
        return "content_policy" if _BLOCKED.search(message) else "bad_request"
    if status in (401, 403):
        return "auth"
    if status == 404:
        return "not_found"
    if status == 503:
        return "overloaded"
    return "upstream_5xx" if status >= 500 else "bad_request"


def _canonical(counts: _Counts | None) -> Usage | None:
    """The disjoint counters; a part larger than its whole is cut to it."""
    if counts is None or counts.prompt_token_count is None:
        return None
    prompt, said = max(0, counts.prompt_token_count), max(0, counts.candidates_token_count or 0)
    cached = min(max(0, counts.cached_content_token_count or 0), prompt)
    cached_audio = min(_of(counts.cache_tokens_details, "AUDIO"), cached)
    audio = min(max(0, _of(counts.prompt_tokens_details, "AUDIO") - cached_audio), prompt - cached)
    spoken = min(_of(counts.candidates_tokens_details, "AUDIO"), said)
    drawn = min(_of(counts.candidates_tokens_details, "IMAGE"), said - spoken)
    return Usage(
        input=prompt - cached - audio + max(0, counts.tool_use_prompt_token_count or 0),
        input_audio=audio,
        cache_read=cached - cached_audio,
        cache_read_audio=cached_audio,
        output=said - spoken - drawn,
        output_audio=spoken,
        output_image=drawn,
        reasoning=max(0, counts.thoughts_token_count or 0),
        source="provider",
    )


def _of(shares: Sequence[_Share] | None, modality: str) -> int:
    """Tokens of one modality."""
    return sum(max(0, share.token_count or 0) for share in shares or () if share.modality == modality)


def _made_id(reply: str, place: int, name: str, arguments: str) -> str:
    """An id for a call that came without one: the same for the same answer, however it was cut."""
    mark = (
        reply
        if re.fullmatch(r"[A-Za-z0-9_-]{8,40}", reply)
        else blake2b(f"{reply}\0{name}\0{arguments}".encode(), digest_size=10).hexdigest()
    )
    return f"call_{mark}_{place}"
