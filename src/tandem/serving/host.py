"""A model host: a child of the door that answers predictions and explanations.

`python -m tandem.serving.host --fd N [--memory MIB] [--trust WORD,…]`; the words are those of `base.TRUST`.

One thread, one request after the other, over the socket it was given. It ends when the door closes its side. A
fault that is not foreseen ends it too, with a traceback on standard error; the door starts another.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Broken, Invalid, TandemError
from tandem.scorers.sample import Floats
from tandem.serving.base import CARD, TRUST, Card, Runtime, digest_of, load
from tandem.serving.calibration import Calibration
from tandem.serving.encoding import Encoding
from tandem.serving.frames import HEAD, LARGEST, Answer, Ask, Fault, frame
from tandem.serving.images import Images, Looks
from tandem.serving.memory import MIB, give_back, resident
from tandem.serving.recommender import Recommender
from tandem.serving.series import Series
from tandem.serving.signals import Signals

BEHIND = 10
"""How much a host gives way: whoever passes calls on must not wait for whoever computes, where cores are scarce."""
KEPT = 1_000
"""Models held at most, however small."""
MEMORY = 1024
"""MiB that a host holds; above it the models unused longest make room."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    serving: Runtime
    """Predicts."""
    native: Runtime
    """Explains."""
    encoding: Encoding | None
    calibration: Calibration | None
    series: Series | None
    images: Images | None
    signals: Signals | None


class Host:
    """The models of one process, loaded when first asked for."""

    def __init__(self, trust: Collection[str] = (), memory: int = MEMORY, held: Callable[[], int] = resident) -> None:
        """
        Args:
            memory: MiB of the process, above which models leave it; the one asked last stays, whatever it takes.
            held: bytes that the process holds.
        """
        self._trust, self._bound, self._held = trust, memory * MIB, held
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()

    def answer(self, ask: Ask) -> Answer:
        """Does what is asked; a deliberate error becomes a fault in the answer."""
        if ask.op == "unload":
            self._loaded.pop(ask.members, None)
            return Answer(ask.id)
        try:
            model = self._model(ask)
            if ask.op == "load":
                return Answer(ask.id)
            asked = None if model.series is None else model.series.ask(ask.rows)
            encoding = model.encoding
            told: Any = ask.rows if asked is None else asked.rows
            looks = None
            if model.images is not None:
                told, looks = _pictured(model.images, ask)
            if model.signals is not None:
                told = model.signals.rows(ask.rows)
            kind = np.object_ if model.serving.cells else np.float64
            rows: NDArray[Any] = np.array(told if encoding is None else encoding.rows(told), dtype=kind)
            found = model.serving.predict(rows)
            outputs = (found if asked is None else asked.answers(found)).tolist()
            if isinstance(model.serving, Recommender) and ask.op == "predict":
                listed = model.serving.told(found)
                return Answer(ask.id, [[*each.scores] for each in listed], texts=[[each.by, *each.items] for each in listed])
            if model.calibration is not None:
                outputs = model.calibration.rows(outputs)
            if ask.op == "predict":
                return Answer(ask.id, outputs, looks=looks)
            parts, base = model.native.explain(rows)
            parts = by_field(parts, encoding) if model.signals is None else model.signals.by_channel(parts)
            if asked is not None:
                parts, base = asked.explained(parts, base)
        except TandemError as error:
            return Answer(ask.id, fault=Fault(error.code, f"{ask.ref}: {error.message}", error.hint, error.words))
        return Answer(ask.id, outputs, parts.tolist(), base.tolist())

    def _model(self, ask: Ask) -> _Loaded:
        members = ask.members
        if members not in self._loaded:
            card = Card.read(Path(members))
            executes = TRUST.keys() & {card.runtime, card.native} or card.pins
            if executes and digest_of(Path(members) / CARD) != ask.card:
                raise Broken(f"The model's card {CARD} is not the one that was imported.", hint="Import it again.")
            native = load(card.native, Path(members), self._trust)
            serving = native if card.runtime == card.native else load(card.runtime, Path(members), self._trust)
            encoding, calibration = Encoding.load(Path(members)), Calibration.load(Path(members))
            self._loaded[members] = _Loaded(
                serving,
                native,
                encoding,
                calibration,
                Series.load(Path(members)),
                Images.load(Path(members), self._trust),
                Signals.load(Path(members)),
            )
            self._make_room()
        self._loaded.move_to_end(members)
        return self._loaded[members]

    def _make_room(self) -> None:
        """Lets models go, the one unused longest first, until the process is within its bound."""
        while len(self._loaded) > KEPT:
            self._loaded.popitem(last=False)
        while len(self._loaded) > 1 and self._held() > self._bound:
            self._loaded.popitem(last=False)
            give_back()


def _pictured(images: Images, ask: Ask) -> tuple[Floats, Looks]:
    if ask.op == "explain":
        raise Invalid("Models of images do not explain themselves.", field="explain", hint="Leave 'explain' out.")
    return images.rows(ask.rows)


def by_field(parts: Floats, encoding: Encoding | None) -> Floats:
    """Contributions of encoded columns, summed to those of the fields they are of."""
    if encoding is None:
        return parts
    found = np.zeros((len(parts), len(encoding.parts)))
    for place, owner in enumerate(encoding.owners()):
        found[:, owner] += parts[:, place]
    return found


def serve(incoming: IO[bytes], outgoing: IO[bytes], trust: Collection[str] = (), memory: int = MEMORY) -> None:
    """Answers requests until the other end is closed."""
    host = Host(trust, memory)
    decode = msgspec.msgpack.Decoder(Ask).decode
    while len(head := incoming.read(HEAD)) == HEAD:
        size = int.from_bytes(head, "big")
        body = incoming.read(size) if size <= LARGEST else b""
        if len(body) < size:
            return
        outgoing.write(frame(host.answer(decode(body))))
        outgoing.flush()


def main(arguments: list[str]) -> int:
    told = dict(zip(arguments[::2], arguments[1::2], strict=False))
    numbers = [told.get("--fd", ""), told.get("--memory", str(MEMORY))]
    if len(arguments) % 2 or not told.keys() <= {"--fd", "--memory", "--trust"} or not all(map(str.isdigit, numbers)):
        print("usage: python -m tandem.serving.host --fd N [--memory MIB] [--trust WORD,…]", file=sys.stderr)
        return 64
    fd, memory = map(int, numbers)
    trust = told["--trust"].split(",") if "--trust" in told else []
    # XGBoost imports scikit-learn where it can, which makes a host's start four times longer; a model that needs it lets it in.
    sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]  # None is how Python marks a module as absent
    os.nice(BEHIND)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the door decides when we end
    with socket.socket(fileno=fd) as connection:
        incoming, outgoing = connection.makefile("rb"), connection.makefile("wb")
        try:
            serve(incoming, outgoing, trust, memory)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the door is gone
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
