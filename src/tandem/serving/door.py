"""Predictions as the door's calls: wire in, rows to the models, wire out. A `gateway.target.Target`."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from tandem.core.asset import Ref
from tandem.core.errors import Broken
from tandem.gateway.snapshot import Served
from tandem.gateway.target import Answer, Question
from tandem.serving import oip
from tandem.serving.signature import Signature
from tandem.serving.target import Models, ServedModel

KEPT = 256
"""Model versions whose card is held decoded."""


class _Meta(msgspec.Struct):
    signature: msgspec.Raw
    threshold: float = 0.5
    classes: tuple[str, str] = ("0", "1")
    algorithm: str = ""


class Predictions:
    """Answers predict calls."""

    def __init__(self, models: Models | None = None) -> None:
        self._models = models or Models()
        self._cards: OrderedDict[str, tuple[ServedModel, str]] = OrderedDict()

    async def answer(self, question: Question) -> Answer:
        """Predicts, or tells what the model takes.

        Raises:
            Invalid: the request breaks the protocol or the model's contract; `field` names where.
            TandemError: as `Models.predict`.
        """
        model, platform = self._card(question.served)
        ref = Ref.parse(question.served.ref)
        if question.verb == "metadata":
            return Answer(body=oip.metadata(model.signature, name=ref.name, versions=[str(ref.version)], platform=platform))
        if question.verb == "ready":
            return Answer(body=msgspec.json.encode({"name": ref.name, "ready": True}))
        request = oip.parse(question.body, model.signature)
        prediction = await self._models.predict(model, request.rows, explain=request.explain, deadline=question.seconds)
        body = oip.respond(request, prediction, name=ref.name, version=str(ref.version), columns=model.signature.names)
        notes = {"probability": prediction.probabilities[0]} if len(prediction.probabilities) == 1 else {}
        return Answer(body=body, attributes={"rows": len(request.rows)}, notes=notes)

    def _card(self, served: Served) -> tuple[ServedModel, str]:
        """The version as the models want it; decoded once, for versions never change."""
        known = self._cards.get(served.ref + served.digest)
        if known is not None:
            return known
        try:
            meta = msgspec.json.decode(served.meta, type=_Meta)
            signature = Signature.from_json(bytes(meta.signature))
        except msgspec.DecodeError as error:
            raise Broken(f"{served.ref} does not say what it takes: {error}.") from None
        card = ServedModel(
            ref=served.ref, members=served.members, signature=signature, threshold=meta.threshold, classes=meta.classes
        )
        self._cards[served.ref + served.digest] = (card, meta.algorithm)
        if len(self._cards) > KEPT:
            self._cards.popitem(last=False)
        return card, meta.algorithm

    async def close(self) -> None:
        await self._models.close()
