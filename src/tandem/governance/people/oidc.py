"""OpenID Connect 1.0: the code flow with PKCE (RFC 7636), state, nonce and issuer (RFC 9207). All HTTP of sign-ins is here.

It makes nobody and opens no session: it says whom a provider vouches for.
"""

from __future__ import annotations

import base64
import os
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
import msgspec
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Broken, NotFound, Unauthenticated, Unavailable
from tandem.governance.people.issuer import HERE, Issuer
from tandem.store.vault import Vault

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
"""With a public key: `none`, and secrets that the client shares, are no proof."""
LEEWAY_SECONDS = 60
FLOW_SECONDS = 600
"""How long somebody may take at the provider."""
FACTS_SECONDS = 600
"""How long a provider's addresses and keys are believed."""
AGAIN_SECONDS = 30
"""How soon its keys are asked for anew, for one that is not known."""
TIMEOUT_SECONDS = 10.0
READ_BYTES = 512 * 1024
PURPOSE = "oidc-flow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """Whom a provider vouches for."""

    issuer: Issuer
    subject: str
    """Of the provider's own: it never names somebody else."""
    email: str | None
    """Only where the provider says that it was verified."""
    name: str
    """What the person would like to be called; may be empty."""
    groups: object
    """The claim about membership, as it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A sign-in that was sent to the provider."""

    url: str
    """Where the browser goes."""
    ticket: str
    """What the browser keeps until it comes back: sealed, and worth nothing elsewhere."""


class _Flow(msgspec.Struct, frozen=True):
    """What has to be the same when the browser comes back."""

    provider: str
    state: str
    nonce: str
    verifier: str
    after: str
    until: int


class _Facts(msgspec.Struct):
    """What a provider says of itself: OpenID Connect Discovery 1.0, section 3."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    authorization_response_iss_parameter_supported: bool = False
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Oidc:
    """Asks providers who somebody is; one per process."""

    def __init__(self, issuers: Mapping[str, Issuer], vault: Vault, clock: Clock, address: str) -> None:
        """
        Args:
            address: of the console, as browsers know it.
        """
        self._issuers, self._vault, self._clock, self._address = dict(issuers), vault, clock, address
        self._lock = threading.Lock()
        self._facts: dict[str, tuple[int, _Facts]] = {}
        self._keys: dict[str, tuple[int, KeySet]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The providers, in the order of the settings."""
        return tuple(self._issuers)

    def begin(self, name: str, after: str) -> Begun:
        """Where to send a browser.

        Args:
            after: the page that was asked for.

        Raises:
            NotFound: there is no such provider.
            Unavailable: it does not answer.
        """
        issuer, facts = self._known(name)
        flow = _Flow(
            provider=name,
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            after=after[:2048],
            until=self._clock.now() + FLOW_SECONDS * MICROS,
        )
        asked = {
            "response_type": "code",
            "client_id": issuer.client_id,
            "redirect_uri": self._back(name),
            "scope": " ".join(issuer.scopes),
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": create_s256_code_challenge(flow.verifier),
            "code_challenge_method": "S256",
        }
        joined = "&" if urlsplit(facts.authorization_endpoint).query else "?"
        sealed = self._vault.seal(PURPOSE, msgspec.msgpack.encode(flow))
        return Begun(
            url=facts.authorization_endpoint + joined + urlencode(asked), ticket=base64.urlsafe_b64encode(sealed).decode()
        )

    def finish(self, name: str, told: Mapping[str, str], ticket: str) -> tuple[Vouched, str]:
        """Whom the provider vouches for, and the page that was asked for.

        Args:
            told: what the browser brought back: `code`, `state`, `iss` or `error`.
            ticket: what the browser kept.

        Raises:
            Unauthenticated: something does not fit, or the provider refused.
            NotFound, Unavailable: as `begin`.
        """
        flow = self._flow(name, told, ticket)
        issuer, facts = self._known(name)
        without = None if facts.authorization_response_iss_parameter_supported else facts.issuer
        if told.get("iss", without) != facts.issuer:
            raise _refused(f"The answer is not of '{name}'.")
        tokens = self._exchange(issuer, facts, told["code"], flow.verifier)
        claims = self._claims(issuer, facts, tokens, flow.nonce)
        if claims.get("email") is None or (issuer.teams and issuer.claim not in claims):
            claims = {**self._userinfo(facts, tokens, claims), **claims}
        told_verified, email = claims.get("email_verified"), claims.get("email")
        verified = told_verified is True or told_verified == "true"
        wanted = claims.get("preferred_username") or claims.get("email") or claims.get("name") or ""
        return Vouched(
            issuer=issuer,
            subject=str(claims["sub"]),
            email=email if verified and isinstance(email, str) else None,
            name=wanted if isinstance(wanted, str) else "",
            groups=claims.get(issuer.claim),
        ), flow.after

    def _flow(self, name: str, told: Mapping[str, str], ticket: str) -> _Flow:
        try:
            flow = msgspec.msgpack.decode(self._vault.open(PURPOSE, base64.urlsafe_b64decode(ticket)), type=_Flow)
        except (ValueError, Broken):  # msgspec's own errors are ValueErrors
            raise _refused("This browser did not begin the sign-in.") from None
        state = secrets.compare_digest(flow.state.encode(), told.get("state", "").encode())
        if flow.provider != name or not state or flow.until <= self._clock.now():
            raise _refused("This browser did not begin the sign-in, or took too long.")
        if "code" not in told:
            raise _refused(f"'{name}' did not sign you in ({told.get('error', 'no code')[:60]}).")
        return flow

    def _exchange(self, issuer: Issuer, facts: _Facts, code: str, verifier: str) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._back(issuer.name),
            "client_id": issuer.client_id,
            "code_verifier": verifier,
        }
        secret, auth = _secret(issuer), None
        if secret and "client_secret_basic" in facts.token_endpoint_auth_methods_supported:
            auth = httpx2.BasicAuth(_form(issuer.client_id), _form(secret))
        elif secret:
            form["client_secret"] = secret
        return self._ask("POST", facts.token_endpoint, form=form, auth=auth)

    def _claims(self, issuer: Issuer, facts: _Facts, tokens: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """The claims of the ID token, after every check of OpenID Connect Core 1.0, section 3.1.3.7."""
        raw = tokens.get("id_token")
        if not isinstance(raw, str):
            raise _refused(f"'{issuer.name}' gave no ID token.")
        try:
            token = self._decoded(issuer.name, facts, raw)
            claims = CodeIDToken(
                dict(token.claims),
                dict(token.header),
                {"iss": {"essential": True, "value": facts.issuer}, "aud": {"essential": True, "value": issuer.client_id}},
                {"nonce": nonce, "client_id": issuer.client_id, "access_token": tokens.get("access_token")},
            )
            claims.validate(now=self._clock.now() // MICROS, leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError) as error:
            raise _refused(f"The ID token of '{issuer.name}' does not hold: {type(error).__name__}.") from None
        return dict(claims)

    def _decoded(self, name: str, facts: _Facts, raw: str) -> jwt.Token:
        try:
            return jwt.decode(raw, self._keyset(name, facts, FACTS_SECONDS), algorithms=ALGORITHMS)
        except (JoseError, ValueError):  # a key that was changed since
            return jwt.decode(raw, self._keyset(name, facts, AGAIN_SECONDS), algorithms=ALGORITHMS)

    def _userinfo(self, facts: _Facts, tokens: Mapping[str, Any], claims: Mapping[str, Any]) -> Mapping[str, Any]:
        access = tokens.get("access_token")
        if not facts.userinfo_endpoint or not isinstance(access, str):
            return {}
        found = self._ask("GET", facts.userinfo_endpoint, headers={"authorization": f"Bearer {access}"})
        return found if found.get("sub") == claims.get("sub") else {}

    def _known(self, name: str) -> tuple[Issuer, _Facts]:
        issuer = self._issuers.get(name)
        if issuer is None:
            raise NotFound(f"Nobody called '{name[:60]}' vouches for people here.", hint="The sign-in page shows who does.")
        now = self._clock.now()
        with self._lock:
            at, facts = self._facts.get(name, (0, None))
        if facts is None or at + FACTS_SECONDS * MICROS <= now:
            told = self._ask("GET", issuer.issuer.rstrip("/") + "/.well-known/openid-configuration")
            try:
                facts = msgspec.convert(told, _Facts)
            except msgspec.ValidationError:
                raise Unavailable(
                    f"What '{name}' says of itself cannot be read.", hint="Is its issuer right in the settings?"
                ) from None
            if facts.issuer != issuer.issuer:
                raise Unavailable(f"'{name}' calls itself otherwise than the settings do.", hint="Write its issuer as it does.")
            with self._lock:
                self._facts[name] = (now, facts)
        return issuer, facts

    def _keyset(self, name: str, facts: _Facts, seconds: int) -> KeySet:
        now = self._clock.now()
        with self._lock:
            at, keys = self._keys.get(name, (0, None))
        if keys is None or at + seconds * MICROS <= now:
            keys = KeySet.import_key_set(self._ask("GET", facts.jwks_uri))  # type: ignore[arg-type]  # it looks itself
            with self._lock:
                self._keys[name] = (now, keys)
        return keys

    def _back(self, name: str) -> str:
        return f"{self._address}/console/sso/{name}/callback"

    def _ask(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        auth: httpx2.BasicAuth | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in HERE:
            raise Unavailable("A provider of sign-ins has an address without TLS.", hint="It has to offer https:// everywhere.")
        told = {"accept": "application/json", **(headers or {})}
        try:
            with httpx2.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=parts.hostname not in HERE) as http:
                with http.stream(method, url, data=form, auth=auth, headers=told) as reply:
                    body = b""
                    for piece in reply.iter_bytes():
                        body += piece
                        if len(body) > READ_BYTES:
                            raise Unavailable("A provider of sign-ins says too much.", hint="Try again later.")
                    status = reply.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise Unavailable(
                f"The provider of sign-ins does not answer: {type(error).__name__}.", hint="Try again, or sign in otherwise."
            ) from None
        if status != 200:
            raise _refused(f"The provider of sign-ins answered {status}.")
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _refused("The provider of sign-ins answered with something that is no JSON.") from None


def _secret(issuer: Issuer) -> str:
    kind, _, rest = issuer.client_secret.partition(":")
    try:
        found = os.environ[rest] if kind == "env" else Path(rest).read_text("utf-8").strip() if kind == "file" else ""
    except (KeyError, OSError):
        raise Unavailable(
            f"The client secret of '{issuer.name}' is not there.",
            hint="Set what its client_secret names, where the platform runs.",
        ) from None
    return found


def _form(text: str) -> str:
    """As RFC 6749, section 2.3.1, wants it in a header."""
    return urlencode({"": text})[1:]


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(why, hint="Begin to sign in once more.")
