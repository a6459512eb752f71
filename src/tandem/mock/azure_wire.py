"""Azure's addresses and refusals around OpenAI's words. No socket, no clock, no state.

Source: https://learn.microsoft.com/azure/ai-foundry/openai/reference, as AzureOpenAI of openai 3 asks. A deployment of the mock
has the name of its model. What was found in the prompt comes first in a stream, in a chunk without choices.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from tandem.core.errors import Invalid, NotFound, TandemError
from tandem.mock import openai_wire
from tandem.mock.http import Request
from tandem.mock.openai_reply import ChatReply, Stamp

ROOT = "/openai/"
PATH = re.compile(r"/openai/(?:v1|deployments/(?P<deployment>[^/]+))/(?P<verb>chat/completions|embeddings)")
VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(?:-preview)?")
SAFE = {kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")}
FOUND = {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}]}
FILTERED = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your "
    "prompt and retry."
)
BUSY = "Requests have exceeded the call rate limit of your current AIServices pricing tier. Please retry after 1 second."
_json = msgspec.json.Encoder().encode


class AzureReply(ChatReply):
    """The answers to one chat request, with what was found in its prompt."""

    def whole(self, stamp: Stamp) -> bytes:
        return super().whole(stamp)[:-1] + b"," + _json(FOUND)[1:]

    def opening(self, stamp: Stamp) -> list[bytes]:
        first: dict[str, Any] = {"choices": [], "created": 0, "id": "", "model": "", "object": "", **FOUND}
        return [b"data: %b\n\n" % _json(first), *super().opening(stamp)]


def place(request: Request) -> tuple[str, Request]:
    """OpenAI's address for one of Azure's, and the request with its deployment as the model.

    Raises:
        NotFound: there is nothing at the address, or it names no version of the API.
    """
    found = PATH.fullmatch(request.path)
    if found is None:
        raise NotFound("Resource not found", code="404")
    path = f"/v1/{found['verb']}"
    if found["deployment"] is None:
        return path, request
    version = parse_qs(request.query).get("api-version", [""])[0]
    if not VERSION.fullmatch(version):
        raise NotFound("Resource not found", code="404")
    try:
        members = msgspec.json.decode(request.body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return path, request  # it is refused where it is read
    return path, replace(request, body=_json({**members, "model": unquote(found["deployment"])}))


def blocked() -> Invalid:
    """The refusal of a prompt by the filter."""
    return Invalid(FILTERED, code="content_filter", field="prompt")


def error(problem: TandemError) -> bytes:
    """A refusal, in Azure's shape."""
    if problem.code == "content_filter":
        result = {**SAFE, "violence": {"filtered": True, "severity": "high"}}
        inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result}
        told = {"message": problem.message, "type": None, "param": problem.field, "code": problem.code, "status": 400}
        return _json({"error": {**told, "innererror": inner}})
    if problem.code == "model_not_found":
        return _error("DeploymentNotFound", "The API deployment for this resource does not exist.")
    if problem.code.isdigit():
        return _error(problem.code, problem.message)
    return openai_wire.error(problem)


def scripted(status: int) -> bytes:
    """The body of a refusal that a fault asked for."""
    return _error(str(status), BUSY if status == 429 else f"The mock refuses this request with status {status}.")


def _error(code: str, message: str) -> bytes:
    return _json({"error": {"code": code, "message": message}})
