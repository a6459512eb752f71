"""Who asks Bedrock: a request with its key, or signed with it. It reads no clock and sends nothing.

A key is `ACCESS_KEY:SECRET[:SESSION_TOKEN]`, with which every request is signed, or one of Bedrock's own, which is sent as it is:
https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html
"""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import parse_qs, urlsplit

import msgspec

from tandem.core.errors import Rejected
from tandem.gateway.providers.base import QUERIES, Ask
from tandem.gateway.providers.sigv4 import Credentials, Scope, sign

SERVICE = "bedrock"
REGION = QUERIES["bedrock"]
"""What an address may say in its query, where its host does not."""
_REGION = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z]{2,}(?:-[a-z]+)+-\d+)\.")
_NAME = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-\d+")


def proven(ask: Ask, key: str | None) -> Ask:
    """The request with its key, or ready to be signed with it."""
    if not key:
        return ask
    access, colon, rest = key.partition(":")
    if not colon:
        return msgspec.structs.replace(ask, headers=(*ask.headers, (b"authorization", b"Bearer " + key.encode())))
    secret, _, token = rest.partition(":")
    return msgspec.structs.replace(ask, bound=partial(_signed, Credentials(access_key=access, secret=secret, token=token)))


def _signed(credentials: Credentials, ask: Ask, base_url: str, now: int) -> Ask:
    """The request with its signature; what the door adds to it later is not signed.

    Raises:
        Rejected: the key is none, or the address names no region.
    """
    if not (credentials.access_key and credentials.secret):
        raise Rejected(
            "A key of the provider is no ACCESS_KEY:SECRET.",
            hint="Write ACCESS_KEY:SECRET or ACCESS_KEY:SECRET:SESSION_TOKEN, or a key of Bedrock's own.",
            code="provider_auth",
            status=502,
        )
    region = region_of(base_url)
    if region is None:
        raise Rejected(
            "The address of the provider names no region, for which a request could be signed.",
            hint=f"Write it behind the address, such as …?{REGION}=eu-central-1.",
            code="provider_auth",
            status=502,
        )
    parts = urlsplit(base_url)
    url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}{ask.path}"
    scope = Scope(region=region, service=SERVICE)
    proof = sign(credentials, scope, method="POST", url=url, headers=ask.headers, body=ask.body, now=now)
    return msgspec.structs.replace(ask, headers=(*ask.headers, *proof), bound=None)


def region_of(base_url: str) -> str | None:
    """The region in which an address is, as its host or else its query says; None where neither does.

    >>> region_of("https://bedrock-runtime.eu-west-1.amazonaws.com"), region_of("http://127.0.0.1:9101?region=us-gov-west-1")
    ('eu-west-1', 'us-gov-west-1')
    """
    parts = urlsplit(base_url)
    found = _REGION.search(parts.hostname or "")
    if found is not None:
        return found[1]
    told = parse_qs(parts.query).get(REGION, [""])[-1]
    return told if _NAME.fullmatch(told) else None
