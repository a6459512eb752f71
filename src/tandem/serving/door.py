"""Predictions as the door's calls: wire in, rows to the models, wire out. A `gateway.target.Target`."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tandem.core.asset import Ref
from tandem.core.errors import Broken
from tandem.data.features.vectors import Reading
from tandem.data.features.view import Service
from tandem.gateway.snapshot import Served
from tandem.gateway.target import Answer, Question
from tandem.serving import entities, forms, oip, tensors
from tandem.serving.entities import Vector
from tandem.serving.oip import Request
from tandem.serving.signature import Signature
from tandem.serving.target import Models, ServedModel

KEPT = 256
"""Model versions whose card is held decoded."""


class _Meta(msgspec.Struct):
    signature: msgspec.Raw
    threshold: float = 0.5
    classes: tuple[str, ...] = ("0", "1")
    algorithm: str = ""
    card: str = ""
    vector: Vector | None = None


@dataclass(frozen=True, slots=True)
class _Card:
    """A model version as it is answered for."""

    ref: Ref
    model: ServedModel
    platform: str
    vector: Vector | None
    service: Service | None
    """Whose features the model takes; None where it was trained on others."""


class Predictions:
    """Answers predict calls."""

    def __init__(self, models: Models | None = None, features: Reading | None = None, *, quick: bool = True) -> None:
        """
        Args:
            features: where the features of entities are read; None: no request names entities.
            quick: whether that takes microseconds, so that it may be done on the event loop.
        """
        self._models = models or Models()
        self._features, self._quick = features, quick
        self._cards: OrderedDict[str, _Card] = OrderedDict()

    async def answer(self, question: Question) -> Answer:
        """Predicts, or tells what the model takes.

        Raises:
            Invalid: the request breaks the protocol or the model's contract; `field` names where.
            TandemError: as `Models.predict`.
        """
        card = self._card(question.served)
        model, platform = card.model, card.platform
        ref = card.ref
        if question.verb == "metadata":
            return Answer(body=oip.metadata(model.signature, name=ref.name, versions=[str(ref.version)], platform=platform))
        if question.verb == "ready":
            return Answer(body=msgspec.json.encode({"name": ref.name, "ready": True}))
        if question.verb == "load":
            await self._models.load(model, deadline=question.seconds)
            return Answer()
        if question.verb == "unload":
            await self._models.unload(model)
            return Answer()
        fetched = await self._fetched(question, card) if entities.names_entities(question.body) else None
        request = forms.parse(question.body, model.signature, question.header) if fetched is None else fetched.request
        prediction = await self._models.predict(model, request.rows, explain=request.explain, deadline=question.seconds)
        reply = oip.respond(
            request,
            prediction,
            name=ref.name,
            version=str(ref.version),
            columns=model.signature.names,
            classes=model.classes,
            beside=() if fetched is None else fetched.outputs(),
            parameters=None if fetched is None or card.vector is None else {"service": card.vector.ref},
        )
        attributes: dict[str, object] = {"rows": len(request.rows)}
        unseen = model.signature.unseen(request.rows)
        if unseen:
            attributes["unseen_categories"] = unseen
        notes: dict[str, object] = {}
        if len(prediction.outputs) == 1 and not model.signature.lists:
            notes[model.signature.usual[0]] = prediction.probabilities[0]
        if prediction.looks is not None:
            notes["images"] = prediction.looks
        if fetched is not None and card.vector is not None:
            attributes |= {"service": card.vector.ref, "oldest_feature_seconds": fetched.oldest}
            notes |= fetched.kept()
        return _answer(question, request, reply, attributes, notes)

    async def _fetched(self, question: Question, card: _Card) -> entities.Fetched | None:
        """The rows of a request by entity; None where it is another."""
        found = entities.asked(question.body, card.vector, question.served.ref)
        if found is None or card.service is None or self._features is None:
            return None
        if self._quick:
            return entities.fetch(self._features, card.service, found, card.model.signature, question.at)
        return await asyncio.to_thread(entities.fetch, self._features, card.service, found, card.model.signature, question.at)

    def _card(self, served: Served) -> _Card:
        """The version as the models want it; decoded once, for versions never change."""
        known = self._cards.get(served.ref + served.digest)
        if known is not None:
            return known
        try:
            meta = msgspec.json.decode(served.meta, type=_Meta)
            signature = Signature.from_json(bytes(meta.signature))
        except msgspec.DecodeError as error:
            raise Broken(f"{served.ref} does not say what it takes: {error}.") from None
        model = ServedModel(
            ref=served.ref,
            members=served.members,
            signature=signature,
            threshold=meta.threshold,
            classes=meta.classes,
            card=meta.card,
        )
        service = None if meta.vector is None else meta.vector.made()
        card = _Card(Ref.parse(served.ref), model, meta.algorithm, meta.vector, service)
        self._cards[served.ref + served.digest] = card
        if len(self._cards) > KEPT:
            self._cards.popitem(last=False)
        return card

    async def close(self) -> None:
        await self._models.close()


def _answer(
    question: Question, request: Request, reply: Mapping[str, Any], attributes: Mapping[str, object], notes: Mapping[str, object]
) -> Answer:
    """The reply as it was asked for: in JSON, or with tensors behind it; what is kept of both is JSON."""
    body, length = tensors.pack(reply, *request.binary)
    plain = question.body if request.plain is None else request.plain
    if length is None:
        kept = None if request.plain is None else (plain, body)
        return Answer(body=body, attributes=attributes, notes=notes, kept=kept)
    return Answer(
        body=body,
        attributes=attributes,
        notes=notes,
        content_type=b"application/octet-stream",
        headers=((b"inference-header-content-length", b"%d" % length),),
        kept=(plain, msgspec.json.encode(reply)),
    )
