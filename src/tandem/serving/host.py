"""A model host: a child of the door that answers predictions and explanations, `python -m tandem.serving.host --fd N`.

One thread, one request after the other, over the socket it was given. It ends when the door closes its side. A
fault that is not foreseen ends it too, with a traceback on standard error; the door starts another.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import OrderedDict
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from tandem.core.errors import TandemError
from tandem.serving.base import Card, Runtime, load
from tandem.serving.frames import HEAD, LARGEST, Answer, Ask, Fault, frame

BEHIND = 10
"""How much a host gives way: whoever passes calls on must not wait for whoever computes, where cores are scarce."""
KEPT = 16
"""Models held in memory; the one unused longest makes room."""


class Host:
    """The models of one process, loaded when first asked for."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[str, tuple[Runtime, Runtime]] = OrderedDict()

    def answer(self, ask: Ask) -> Answer:
        """Does what is asked; a deliberate error becomes a fault in the answer."""
        try:
            serving, native = self._model(ask.members)
            if ask.op == "load":
                return Answer(ask.id)
            rows = np.array(ask.rows, dtype=np.float64)
            chances = serving.predict(rows).tolist()
            if ask.op == "predict":
                return Answer(ask.id, chances)
            parts, base = native.explain(rows)
        except TandemError as error:
            return Answer(ask.id, fault=Fault(error.code, f"{ask.ref}: {error.message}", error.hint))
        return Answer(ask.id, chances, parts.tolist(), base.tolist())

    def _model(self, members: str) -> tuple[Runtime, Runtime]:
        """The runtime that predicts and the one that explains."""
        if members not in self._loaded:
            card = Card.read(Path(members))
            native = load(card.native, Path(members))
            serving = native if card.runtime == card.native else load(card.runtime, Path(members))
            self._loaded[members] = (serving, native)
            if len(self._loaded) > KEPT:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(members)
        return self._loaded[members]


def serve(incoming: IO[bytes], outgoing: IO[bytes]) -> None:
    """Answers requests until the other end is closed."""
    host = Host()
    decode = msgspec.msgpack.Decoder(Ask).decode
    while len(head := incoming.read(HEAD)) == HEAD:
        size = int.from_bytes(head, "big")
        body = incoming.read(size) if size <= LARGEST else b""
        if len(body) < size:
            return
        outgoing.write(frame(host.answer(decode(body))))
        outgoing.flush()


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] != "--fd" or not arguments[1].isdigit():
        print("usage: python -m tandem.serving.host --fd N", file=sys.stderr)
        return 64
    # XGBoost imports scikit-learn where it can, which a host never uses and which makes its start four times longer.
    sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]  # None is how Python marks a module as absent
    os.nice(BEHIND)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the door decides when we end
    with socket.socket(fileno=int(arguments[1])) as connection:
        incoming, outgoing = connection.makefile("rb"), connection.makefile("wb")
        try:
            serve(incoming, outgoing)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the door is gone
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
