"""Answers that a provider keeps under an id, and who may go on from them. It knows names and bytes, no call and no host.

Such an id belongs to one account. So a caller never sees it bare: what it is told names the target, the key and the
provider's id, authenticated for the caller's team. Every worker can read it back, nothing is stored, and it outlives restarts;
a team cannot go on from what another team was told, nor from an id that this door did not give out.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hmac import compare_digest

import msgspec

from tandem.core.errors import Invalid, Upstream
from tandem.gateway.splice import splice
from tandem.gateway.sse import data
from tandem.observability.content import Vault
from tandem.store.vault import mac

DIALECTS = frozenset({"responses"})
"""Wires whose answers a provider keeps, so that `previous_response_id` may name them."""
FOLLOWS = "previous_response_id"
PIECE = b'.delta"'
"""How the type of an event ends that holds tokens; of all others an answer may have many without one."""
PREFIX = "resp_"
MAC_BYTES = 16
PRINT_BYTES = 6
LONGEST = 2048
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Kept(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where an answer is kept."""

    target: str
    key: bytes
    """Print of the key it was asked with; empty where the host takes none."""
    id: str
    """The provider's own."""

    @property
    def account(self) -> str:
        """The provider it is kept at."""
        return self.target.partition("/")[0]


class _Named(msgspec.Struct):
    id: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    response: msgspec.Raw = msgspec.Raw(b"null")


_kept = msgspec.msgpack.Decoder(Kept)
_named = msgspec.json.Decoder(_Named)
_event = msgspec.json.Decoder(_Event)


class Names:
    """Gives answers their names, and knows them again.

    Authenticated and not encrypted: what they hold is no secret of another's, and a nonce for each answer would run out.
    """

    def __init__(self, vault: Vault) -> None:
        self._key = vault.derive("answers")

    def print(self, key: str | None) -> bytes:
        """What tells keys of one host apart, and tells nothing about them."""
        return mac(self._key, b"key", key.encode())[:PRINT_BYTES] if key else b""

    def give(self, team: str, kept: Kept) -> str:
        """The name of an answer, for callers of one team."""
        body = msgspec.msgpack.encode(kept)
        return PREFIX + urlsafe_b64encode(self._proof(team, body) + body).decode().rstrip("=")

    def find(self, team: str, name: str) -> Kept | None:
        """Which answer is named; None for a name that was not given out by this door, or to another team."""
        if not name.startswith(PREFIX) or len(name) > LONGEST:
            return None
        text = name.removeprefix(PREFIX)
        try:
            sealed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            return None
        proof, body = sealed[:MAC_BYTES], sealed[MAC_BYTES:]
        if not compare_digest(proof, self._proof(team, body)):
            return None
        try:
            return _kept.decode(body)
        except UNREADABLE:
            return None

    def _proof(self, team: str, body: bytes) -> bytes:
        return mac(self._key, b"answer", team.encode(), body)[:MAC_BYTES]


def lost(why: str) -> Invalid:
    """The refusal of a request that goes on from an answer which cannot be gone on from."""
    return Invalid(
        f"{FOLLOWS} names an answer from which this endpoint cannot go on. {why}",
        field=FOLLOWS,
        code="previous_response_not_found",
        hint="Send the whole conversation as input, without it.",
    )


class Tie:
    """The answers of one attempt, whose bytes pass but for their names."""

    def __init__(self, names: Names, team: str, target: str, key: bytes, follows: str) -> None:
        self._names, self._team, self._target, self._key = names, team, target, key
        self._follows = follows
        """The name of the answer it goes on from, as the caller said it."""

    def whole(self, body: bytes) -> bytes:
        """A response with its name in place of the provider's id; every other byte stays.

        Raises:
            Upstream: it cannot be read.
        """
        try:
            id = _named.decode(body).id
            if not id:
                return body
            name = self._names.give(self._team, Kept(self._target, self._key, id))
            edits = {"id": msgspec.json.encode(name)}
            if self._follows:
                edits[FOLLOWS] = msgspec.json.encode(self._follows)
            return splice(body, edits)
        except (*UNREADABLE, Invalid):
            raise Upstream("The provider's answer cannot be read.", code="malformed_reply") from None

    def frame(self, frame: bytes) -> bytes:
        """A frame of a stream in the same way.

        Raises:
            Upstream: it cannot be read.
        """
        if b'"response"' not in frame:  # as in nearly all of them
            return frame
        payload = data(frame)
        if payload is None:
            return frame
        try:
            event = _event.decode(payload)
            inner = bytes(event.response)
            if inner[:1] != b"{":
                return frame
            spliced = splice(payload, {"response": self.whole(inner)})
        except (*UNREADABLE, Invalid):
            raise Upstream("The provider sent an event that cannot be read.", code="malformed_stream") from None
        if payload in frame:
            return frame.replace(payload, spliced, 1)
        lines = b"".join([b"data: %b\n" % line for line in spliced.split(b"\n")])
        return b"event: %b\n%b\n" % (event.type.encode(), lines)
