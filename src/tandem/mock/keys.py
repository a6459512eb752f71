"""Who asks: the key of a request, from where each vendor's clients put it, and whether it is the one that is wanted.

A request that is signed instead of bearing a key must bear the right signature where the key is known. Method: AWS's
"Create a signed AWS API request", checked with `Signature Version 4` alone.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from urllib.parse import quote

from tandem.core.errors import Forbidden, Unauthenticated
from tandem.core.secret import Secret
from tandem.mock import gemini_wire
from tandem.mock.http import Request

_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/aws4_request, ?"
    r"SignedHeaders=(?P<names>[a-z0-9;-]+), ?Signature=(?P<proof>[0-9a-f]{64})"
)
_WRONG = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and "
    "signing method. Consult the service documentation for details."
)


def openai(request: Request, wanted: Secret | None) -> str:
    """The bearer of OpenAI's clients."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise Unauthenticated(
            "You didn't provide an API key. You need to provide your API key in an Authorization header "
            "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
    if wanted is not None and key != wanted.reveal():
        shown = f"{key[:3]}***{key[-2:]}" if len(key) > 8 else "***"
        raise Unauthenticated(f"Incorrect API key provided: {shown}.", code="invalid_api_key")
    return key


def anthropic(request: Request, wanted: Secret | None) -> str:
    """`x-api-key`, as Anthropic's older clients send it, else a bearer."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    given = request.headers.get("x-api-key", "").strip()
    scheme, key = ("bearer", given) if given else (scheme, key.strip())
    if scheme.lower() != "bearer" or not key:
        raise Unauthenticated("x-api-key header is required")
    if wanted is not None and key != wanted.reveal():
        raise Unauthenticated("invalid x-api-key")
    return key


def google(request: Request, wanted: Secret | None) -> str:
    """The key of the header; one in the address would stand in every log on the way, and is not looked for."""
    key = request.headers.get("x-goog-api-key", "").strip()
    if not key:
        raise gemini_wire.unregistered()
    if wanted is not None and key != wanted.reveal():
        raise gemini_wire.wrong_key()
    return key


def azure(request: Request, wanted: Secret | None) -> str:
    """`api-key`, else a bearer of Entra's."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    given = request.headers.get("api-key", "").strip()
    scheme, key = ("bearer", given) if given else (scheme, key.strip())
    if scheme.lower() != "bearer" or not key or (wanted is not None and key != wanted.reveal()):
        raise Unauthenticated(
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
            "active subscription and use a correct regional API endpoint for your resource.",
            code="401",
        )
    return key


def amazon(request: Request, wanted: Secret | None) -> str:
    """A bearer, or the access key of whoever signed; where a key is wanted, its secret must have signed."""
    told = request.headers.get("authorization", "")
    scheme, _, key = told.partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        if wanted is not None and key.strip() != wanted.reveal():
            raise Forbidden("Authentication failed: Please make sure your API Key is valid.")
        return key.strip()
    signed = _SIGNED.fullmatch(told)
    if signed is None:
        raise Forbidden("Missing Authentication Token", code="MissingAuthenticationTokenException")
    if wanted is not None:
        access, _, rest = wanted.reveal().partition(":")
        secret, _, token = rest.partition(":")
        if signed["key"] != access or request.headers.get("x-amz-security-token", "") != token:
            message = "The security token included in the request is invalid."
            raise Forbidden(message, code="UnrecognizedClientException")
        if not hmac.compare_digest(_proof(request, signed, secret), signed["proof"]):
            raise Forbidden(_WRONG, code="InvalidSignatureException")
    return signed["key"]


def _proof(request: Request, signed: re.Match[str], secret: str) -> str:
    """The signature that the request should bear."""
    names = signed["names"].split(";")
    rows = [f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names]
    query = "&".join(sorted(request.query.split("&"))) if request.query else ""
    parts = [request.method, quote(request.path, safe="/~"), query, "".join(rows), signed["names"]]
    digest = sha256("\n".join([*parts, sha256(request.body).hexdigest()]).encode()).hexdigest()
    moment, place = request.headers.get("x-amz-date", ""), [signed["day"], signed["region"], signed["service"], "aws4_request"]
    key = f"AWS4{secret}".encode()
    for step in place:
        key = hmac.digest(key, step.encode(), "sha256")
    return hmac.digest(key, f"AWS4-HMAC-SHA256\n{moment}\n{'/'.join(place)}\n{digest}".encode(), "sha256").hex()


def hidden(headers: Mapping[str, str], name_of: Callable[[str], str]) -> dict[str, str]:
    """Headers with what `name_of` calls a key in place of each key."""
    shown = dict(headers)
    if "authorization" in shown:
        scheme, _, key = shown["authorization"].partition(" ")
        shown["authorization"] = f"{scheme} ***{name_of(key.strip())}"
    for name in ("x-api-key", "x-goog-api-key", "api-key", "x-amz-security-token"):
        if name in shown:
            shown[name] = f"***{name_of(shown[name].strip())}"
    return shown


def fingerprint(key: str) -> str:
    """How the bill names a key: 12 hexadecimal digits of its SHA-256.

    >>> fingerprint("sk-test")
    'f3abf2a6cc4f'
    """
    return sha256(key.encode()).hexdigest()[:12]
