"""Slack's incoming webhooks, and what is compatible with them: `{"text": …}` to an address that is the secret itself."""

from __future__ import annotations

import json

from tandem.governance.alerts.base import KINDS, Destination, Message
from tandem.governance.alerts.check import check_url
from tandem.governance.alerts.post import Post


class Slack:
    """Also Mattermost, Rocket.Chat, and Discord behind `/slack`."""

    def __init__(self) -> None:
        self._post = Post()

    def send(self, message: Message, destination: Destination, now: int) -> str:
        check_url(destination.url.reveal(), KINDS["slack"])
        body = json.dumps({"text": text_of(message)}).encode()
        # Slack passes over a header it does not know; a receiver of one's own can tell repetitions by it.
        headers = {"content-type": "application/json", "user-agent": "tandem", "webhook-id": message.id}
        self._post.send(destination.url, body, headers)
        return ""


def text_of(message: Message) -> str:
    """The message in Slack's markup: no name can mention a channel or forge a link."""
    lines = [f"*{escaped(message.title)}*", *(f"• {escaped(fact)}" for fact in message.facts)]
    return "\n".join([*lines, f"{escaped(message.link)} or `{escaped(message.command)}`"])


def escaped(text: str) -> str:
    """
    >>> escaped("<!channel> & co")
    '&lt;!channel&gt; &amp; co'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
