"""The OpenAPI description of the routes that the door answers itself; written by hand, tested against the door."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$"}}
_VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1, "maximum": 999999999}}
_JSON = {"application/json": {"schema": {"type": "object"}}}
_JSON_OR_STREAM = {**_JSON, "text/event-stream": {"schema": _TEXT}}
_OPENAI_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "object", "required": ["message", "type", "code"], "properties": {"message": _TEXT, "type": _TEXT}}
    },
}
_OIP_ERROR = {"type": "object", "required": ["error"], "properties": {"error": _TEXT, "code": _TEXT}}
_MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {"role": {"enum": ["system", "user", "assistant"]}, "content": _TEXT},
    },
}
_CHAT = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": _TEXT,
        "messages": _MESSAGES,
        "stream": {"type": "boolean"},
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 4096},
        "n": {"type": "integer", "minimum": 1, "maximum": 8},
        "user": _TEXT,
    },
}
_SAID = {
    "type": "object",
    "required": ["model", "messages", "max_tokens"],
    "properties": {
        "model": _TEXT,
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 4096},
        "system": _TEXT,
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {"role": {"enum": ["user", "assistant"]}, "content": _TEXT},
            },
        },
        "stream": {"type": "boolean"},
    },
}
_COUNTED = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {"model": _TEXT, "messages": _SAID["properties"]["messages"], "system": _TEXT},  # type: ignore[index]  # above
}
_ANTHROPIC_ERROR = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {"type": "object", "required": ["type", "message"], "properties": {"type": _TEXT, "message": _TEXT}},
        "request_id": _TEXT,
    },
}
_RESPOND = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": _TEXT,
        "input": {"oneOf": [_TEXT, _MESSAGES]},
        "instructions": _TEXT,
        "stream": {"type": "boolean"},
        "max_output_tokens": {"type": "integer", "minimum": 16, "maximum": 4096},
        "user": _TEXT,
    },
}
_EMBED = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {"model": _TEXT, "input": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}},
}
_RERANK = {
    "type": "object",
    "required": ["model", "query", "documents"],
    "properties": {
        "model": _TEXT,
        "query": _TEXT,
        "documents": {"type": "array", "minItems": 1, "maxItems": 10000, "items": _TEXT},
        "top_n": {"type": "integer", "minimum": 1},
    },
}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": _TEXT,
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": _TEXT,
        "data": {"type": "array"},
    },
}
_INDEX = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
_LIST = {"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}}
_FAILING = ("502", "503", "504")
_INFER = {"type": "object", "required": ["inputs"], "properties": {"id": _TEXT, "inputs": {"type": "array", "items": _TENSOR}}}


def _operation(
    summary: str,
    error: dict[str, Any],
    *,
    body: dict[str, Any] | None = None,
    path: list[Any] | None = None,
    answer: dict[str, Any] = _JSON,
    failing: tuple[str, ...] = (),
    needs_body: bool = True,
) -> dict[str, Any]:
    """One operation; `failing` are the codes of a provider, a model or a decision that failed."""
    refused = {"description": "Refused or failed", "content": {"application/json": {"schema": error}}}
    operation: dict[str, Any] = {
        "summary": summary,
        "tags": ["hot"],
        "responses": {"200": {"description": "Answered", "content": answer}, **dict.fromkeys(("4XX", *failing), refused)},
    }
    if body is not None:
        operation["requestBody"] = {"required": needs_body, "content": {"application/json": {"schema": body}}}
    if path:
        operation["parameters"] = path
    return operation


PATHS: dict[str, Any] = {
    "/v1/chat/completions": {
        "post": _operation("Chat, as OpenAI speaks it", _OPENAI_ERROR, body=_CHAT, answer=_JSON_OR_STREAM, failing=_FAILING)
    },
    "/v1/responses": {
        "post": _operation(
            "A response, as OpenAI speaks them", _OPENAI_ERROR, body=_RESPOND, answer=_JSON_OR_STREAM, failing=_FAILING
        )
    },
    "/v1/embeddings": {"post": _operation("Embeddings, as OpenAI speaks them", _OPENAI_ERROR, body=_EMBED, failing=_FAILING)},
    "/v1/rerank": {
        "post": _operation(
            "Documents in the order of a query, as Cohere, Jina and vLLM speak it", _OPENAI_ERROR, body=_RERANK, failing=_FAILING
        )
    },
    "/anthropic/v1/messages": {
        "post": _operation(
            "Messages, as Anthropic speaks them", _ANTHROPIC_ERROR, body=_SAID, answer=_JSON_OR_STREAM, failing=(*_FAILING, "529")
        )
    },
    "/anthropic/v1/messages/count_tokens": {
        "post": _operation("An estimate of a request's tokens, as Anthropic asks for it", _ANTHROPIC_ERROR, body=_COUNTED)
    },
    "/v1/models": {"get": _operation("The endpoints this key may reach", _OPENAI_ERROR)},
    "/v1/models/{name}": {"get": _operation("One endpoint", _OPENAI_ERROR, path=[_NAME])},
    "/v1/decide/{name}": {"post": _operation("A decision", _OIP_ERROR, body={"type": "object"}, path=[_NAME], failing=_FAILING)},
    "/v2": {"get": _operation("Server metadata, Open Inference Protocol v2", _OIP_ERROR)},
    "/v2/health/live": {"get": _operation("Live", _OIP_ERROR)},
    "/v2/health/ready": {"get": _operation("Ready", _OIP_ERROR)},
    "/v2/models": {"get": _operation("Predict endpoints", _OIP_ERROR)},
    "/v2/models/{name}": {"get": _operation("A model's metadata", _OIP_ERROR, path=[_NAME])},
    "/v2/models/{name}/ready": {"get": _operation("Whether a model is ready", _OIP_ERROR, path=[_NAME])},
    "/v2/models/{name}/infer": {"post": _operation("A prediction", _OIP_ERROR, body=_INFER, path=[_NAME], failing=_FAILING)},
    "/v2/models/{name}/versions/{version}": {"get": _operation("A version's metadata", _OIP_ERROR, path=[_NAME, _VERSION])},
    "/v2/models/{name}/versions/{version}/ready": {
        "get": _operation("Whether a version is ready", _OIP_ERROR, path=[_NAME, _VERSION])
    },
    "/v2/models/{name}/versions/{version}/infer": {
        "post": _operation("A prediction by one version", _OIP_ERROR, body=_INFER, path=[_NAME, _VERSION], failing=_FAILING)
    },
    "/v2/repository/index": {
        "post": _operation("The versions behind every model", _OIP_ERROR, body=_INDEX, answer=_LIST, needs_body=False)
    },
    "/v2/repository/models/{name}/load": {"post": _operation("Warm a model", _OIP_ERROR, path=[_NAME], failing=_FAILING)},
    "/v2/repository/models/{name}/unload": {"post": _operation("Let a model go", _OIP_ERROR, path=[_NAME])},
    "/health": {
        "get": {
            "summary": "Whether this door serves",
            "tags": ["hot"],
            "responses": {
                "200": {"description": "Serving", "content": _JSON},
                "503": {"description": "Not yet", "content": _JSON},
            },
        }
    },
    "/health/ready": {
        "get": {
            "summary": "Every part by name",
            "tags": ["hot"],
            "responses": {
                "200": {"description": "All well", "content": _JSON},
                "503": {"description": "Not all", "content": _JSON},
            },
        }
    },
    "/metrics": {
        "get": {
            "summary": "Prometheus text; on loopback, or with a key",
            "tags": ["hot"],
            "responses": {
                "200": {"description": "Series", "content": {"text/plain": {"schema": _TEXT}}},
                "401": {"description": "No key", "content": {"application/json": {"schema": _OIP_ERROR}}},
            },
        }
    },
}
