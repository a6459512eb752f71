"""Chat requests that were read before: what was asked of the model, and its answers, which follow from the bytes alone."""

from __future__ import annotations

from tandem.mock import openai_wire as wire
from tandem.mock.model import Answer, answer, last_user, orders

LARGEST_HEARD = 16 * 1024
"""Bytes of a chat request whose answer is kept for the next one like it."""
MOST_HEARD = 512
"""Chat requests whose answers are kept."""


class Heard:
    """A chat request, read, and its answers once they were asked for: both follow from the bytes alone."""

    def __init__(self, body: bytes, headers: tuple[tuple[str, str], ...]) -> None:
        self.chat = wire.read_chat(body)
        turns = self.chat.ask.turns
        at = last_user(turns)
        self.told = orders(turns[at].text if at >= 0 else "", dict(headers))
        self._answers: tuple[Answer, ...] = ()

    def answers(self) -> tuple[Answer, ...]:
        """What the model says, once for each choice."""
        if not self._answers:
            self._answers = tuple(answer(self.chat.ask, self.told, index) for index in range(self.chat.n))
        return self._answers
