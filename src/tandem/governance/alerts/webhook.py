"""Webhooks: JSON that is signed as Standard Webhooks 1.0 says (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hmac

from tandem.core.clock import MICROS, iso
from tandem.governance.alerts.base import KINDS, Destination, Message
from tandem.governance.alerts.check import check_url, signing_key
from tandem.governance.alerts.post import Post
from tandem.store.canonical import canonical


class Webhook:
    """`webhook-id`, `webhook-timestamp` and `webhook-signature` beside `{"type", "timestamp", "data"}`."""

    def __init__(self) -> None:
        self._post = Post()

    def send(self, message: Message, destination: Destination, now: int) -> str:
        check_url(destination.url.reveal(), KINDS["webhook"])
        key = signing_key(destination.secret.reveal())
        body, stamp = body_of(message), now // MICROS
        headers = {
            "content-type": "application/json",
            "user-agent": "tandem",
            "webhook-id": message.id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": sign(key, message.id, stamp, body),
        }
        self._post.send(destination.url, body, headers)
        return ""


def sign(key: bytes, id: str, stamp: int, body: bytes) -> str:
    """`v1,` and HMAC-SHA256 over `id.timestamp.body` in base64; `stamp` is UTC seconds."""
    mac = hmac.new(key, f"{id}.{stamp}.".encode() + body, "sha256").digest()
    return f"v1,{base64.b64encode(mac).decode()}"


def body_of(message: Message) -> bytes:
    """The body, the same at every try."""
    data = {
        "subject": message.subject,
        "actor": message.actor,
        "team": message.team,
        "title": message.title,
        "facts": list(message.facts),
        "link": message.link,
        "command": message.command,
    }
    return canonical({"type": message.action, "timestamp": iso(message.at), "data": data}).encode()
