"""What the Open Inference Protocol asks of a server, rather than of a model: which there are, and what the server can do.

Source: https://github.com/kserve/open-inference-protocol, and Triton's model repository extension.
"""

from __future__ import annotations

import msgspec

from tandem.core.asset import Ref
from tandem.core.endpoint import Endpoint
from tandem.core.errors import Invalid
from tandem.gateway.call import Call

SERVER = {"name": "tandem", "version": "2", "extensions": ["binary_tensor_data", "model_repository"]}
HEADER = b"inference-header-content-length"


class _Index(msgspec.Struct, frozen=True):
    """What a list of models is asked with."""

    ready: bool = False


def header(value: str | None) -> int | None:
    """Bytes of the JSON in front of binary tensors; None where none follow.

    Raises:
        Invalid: it is no number.
    """
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 12:
        raise Invalid("Inference-Header-Content-Length is not a number of bytes.", field=HEADER.decode(), hint="Send a number.")
    return int(value)


def models(call: Call) -> dict[str, object]:
    """The models that a caller may ask."""
    return {"models": [{"name": endpoint.name} for endpoint in _shown(call)]}


def index(call: Call, body: bytes) -> list[dict[str, object]]:
    """One row for each version behind each model that a caller may ask.

    Raises:
        Invalid: the body is not the protocol's.
    """
    try:
        asked = msgspec.json.decode(body, type=_Index) if body.strip() else _Index()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("The request for the index does not have its form.", words=f"{error}.", field="body", hint=_FORM) from None
    rows = [_row(call, endpoint, place.target) for endpoint in _shown(call) for place in endpoint.route]
    return [row for row in rows if row["state"] == "READY" or not asked.ready]


_FORM = 'Send nothing, or {"ready": true}.'


def _row(call: Call, endpoint: Endpoint, target: str) -> dict[str, object]:
    here = target in call.snapshot.served
    version = str(Ref.parse(target).version)
    row: dict[str, object] = {"name": endpoint.name, "version": version, "state": "READY" if here else "UNAVAILABLE"}
    return row if here else {**row, "reason": f"{target} is not here"}


def _shown(call: Call) -> list[Endpoint]:
    principal = call.principal
    assert principal is not None
    allowed = principal.endpoints
    return [
        endpoint
        for endpoint in call.snapshot.endpoints.values()
        if endpoint.kind == "predict" and (not allowed or endpoint.name in allowed) and call.snapshot.answers(endpoint, principal)
    ]
