"""Assets over HTTP: lists, versions, lineage, members, promotion and rollback."""

from __future__ import annotations

import mimetypes
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.approvals import WAITING, waits
from tandem.api.wire import Caller, answer
from tandem.core.asset import Kind, Ref, Version
from tandem.core.principal import Principal
from tandem.evaluation.about.card import Cards
from tandem.evaluation.about.render import html, markdown
from tandem.evaluation.approved import Moves
from tandem.evaluation.held.evidence import Holdouts
from tandem.evaluation.promote import Promotions
from tandem.governance.authorise import authorise, scope_of
from tandem.registry.nouns import Asset, Lineage
from tandem.registry.registry import Registry

SHOWN = ("image/png", "application/json", "text/plain", "text/csv")
"""Media types of members that a browser may show; all others are bytes to keep."""
BYTES = "application/octet-stream"
Form = Literal["json", "md", "html"]
CARDS: dict[Form, str] = {"json": "application/json", "md": "text/markdown", "html": "text/html"}
SAFE = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox",
}
"""Of what a browser may show although it was written by others."""
DEPTH = 5
"""Steps of lineage that a version's page shows, each way."""


class PromoteIn(BaseModel):
    """Which version an alias shall move to."""

    model_config = ConfigDict(extra="forbid")
    version: int = Field(ge=1, le=10**9, strict=True)
    alias: str = Field("production", pattern="^[a-z][a-z0-9._-]{0,62}$")
    etag: int | None = Field(
        None, ge=0, le=2**62, strict=True, description="The alias's etag you have seen; another one gives 409"
    )


class CheckIn(BaseModel):
    """Which alias's gate shall judge a version."""

    model_config = ConfigDict(extra="forbid")
    alias: str = Field("production", pattern="^[a-z][a-z0-9._-]{0,62}$")


class EvidenceIn(BaseModel):
    """On which rows a model shall be judged that it was not trained on."""

    model_config = ConfigDict(extra="forbid")
    dataset: str = Field(max_length=140, description="dataset/NAME[@VERSION]; every row of it is predicted")
    probabilities: list[Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        None,
        max_length=4_000_000,
        description="Of the positive class, one for each row in the dataset's order; of more classes, of each class, row by "
        "row; of a regression, the numbers; without them the server predicts",
    )
    fairness: list[Annotated[str, Field(max_length=200)]] = Field(
        [], max_length=20, description="Columns of the dataset whose groups are judged too"
    )


class RollbackIn(BaseModel):
    """Which alias shall go back to where it was."""

    model_config = ConfigDict(extra="forbid")
    alias: str = Field("production", pattern="^[a-z][a-z0-9._-]{0,62}$")


def routes(registry: Registry, promotions: Promotions, moves: Moves, holdouts: Holdouts, cards: Cards) -> APIRouter:
    """The routes of Asset."""
    router = APIRouter(tags=["assets"])

    @router.get("/assets")
    def list_assets(by: Caller, kind: Annotated[Kind | None, Query()] = None) -> Response:
        """Every asset of the caller's team (or of all, for admins and auditors)."""
        authorise(by, "read")
        return answer([_asset(registry, asset, by) for asset in registry.assets(kind, scope_of(by))])

    @router.get("/assets/{kind}/{name}")
    def show(kind: Kind, name: str, by: Caller) -> Response:
        """An asset with its versions, aliases and their history."""
        authorise(by, "read")
        ref = Ref.parse(f"{kind}/{name}")
        versions = registry.versions(ref.kind, ref.name, scope_of(by))
        aliases = {alias.alias: alias for alias in registry.aliases(ref.kind, ref.name, scope_of(by))}
        named = {alias.alias: alias.version for alias in aliases.values()}
        return answer(
            {
                "kind": kind,
                "name": name,
                "versions": [version_body(version, named) for version in versions],
                "aliases": {name: {"version": alias.version, "etag": alias.etag} for name, alias in aliases.items()},
                "history": [
                    asdict(move) for alias in aliases for move in registry.moves(ref.kind, ref.name, alias, scope_of(by))
                ],
            }
        )

    @router.get("/assets/{kind}/{name}/{version}")
    def one(kind: Kind, name: str, version: str, by: Caller) -> Response:
        """One version, by number or alias, with its lineage."""
        authorise(by, "read")
        found = registry.find(Ref.parse(f"{kind}/{name}@{version}"), scope_of(by))
        named = {alias.alias: alias.version for alias in registry.aliases(found.kind, found.name, scope_of(by))}
        body = version_body(found, named)
        body["lineage"] = lineage_body(registry.lineage(found.ref, DEPTH, scope_of(by)))
        body["scores"] = [asdict(score) for score in registry.scores(found.ref, scope_of(by))]
        return answer(body)

    @router.get(
        "/assets/{kind}/{name}/{version}/members/{member:path}",
        response_class=Response,
        responses={200: {"description": "The file", "content": {media: {} for media in (*SHOWN, BYTES)}}},
    )
    def member(kind: Kind, name: str, version: str, member: str, by: Caller) -> Response:
        """One file of a version."""
        authorise(by, "read")
        found = registry.find(Ref.parse(f"{kind}/{name}@{version}"), scope_of(by))
        media = mimetypes.guess_type(member)[0]
        media = media if media in SHOWN else BYTES
        headers = {"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'"}
        return Response(registry.member(found, member), headers=headers, media_type=media)

    @router.get(
        "/assets/{kind}/{name}/{version}/card",
        response_class=Response,
        responses={200: {"description": "The card", "content": {media: {} for media in CARDS.values()}}},
    )
    def card(kind: Kind, name: str, version: str, by: Caller, form: Annotated[Form, Query(alias="as")] = "json") -> Response:
        """All that is recorded about a model version, each fact with its source: JSON, Markdown, or a page of HTML."""
        authorise(by, "read")
        made = cards.card(Ref.parse(f"{kind}/{name}@{version}"), by)
        match form:
            case "json":
                return answer({**asdict(made), "digest": made.digest})
            case "md":
                body = markdown(made)
            case "html":
                body = html(made, cards.pictures(made, by))
        return Response(body, headers=SAFE, media_type=CARDS[form])

    @router.get("/assets/{kind}/{name}/{version}/about")
    def about(kind: Kind, name: str, version: str, by: Caller) -> Response:
        """Where a model does worse, how it treats groups, which columns count: by its training, else by held-out rows."""
        authorise(by, "read")
        return answer(cards.about(registry.find(Ref.parse(f"{kind}/{name}@{version}"), scope_of(by))))

    @router.post("/assets/{kind}/{name}/{version}/check")
    def check(kind: Kind, name: str, version: str, body: CheckIn, by: Caller) -> Response:
        """What the gate of an alias says to a version; nothing moves. `report` is null where no gate guards the alias.

        At evidence that may grow this is a look: it is recorded, and spends of the error that all looks share.
        """
        report = promotions.judge(Ref.parse(f"{kind}/{name}@{version}"), body.alias, by=by)
        return answer({"report": report})

    @router.post("/assets/{kind}/{name}/{version}/evidence")
    def evidence(kind: Kind, name: str, version: str, body: EvidenceIn, by: Caller) -> Response:
        """Evidence of a model on rows that it was not trained on; the server compares contents, and refuses seen rows.

        The gate then judges by the newest such evidence instead of the out-of-fold predictions of the training.
        """
        ref, dataset = Ref.parse(f"{kind}/{name}@{version}"), Ref.parse(body.dataset)
        return answer(asdict(holdouts.add(ref, dataset, probabilities=body.probabilities, by=by, fairness=body.fairness)), 201)

    @router.post("/assets/{kind}/{name}/promote", responses=WAITING)
    def promote(kind: Kind, name: str, body: PromoteIn, by: Caller) -> Response:
        """Moves an alias to a version, if the gate lets it; the evidence is made and judged here, by the server.

        Where a rule asks for people, nothing moves yet: 202, and the request that waits for them. A release moves the same
        alias of everything it pins too, all or none; `pins` in the answer says what became of each.
        """
        ref = Ref.parse(f"{kind}/{name}@{body.version}")
        if (waiting := moves.ask_promote(ref, body.alias, by=by, expected_etag=body.etag)) is not None:
            return waits(waiting)
        done = promotions.promote(ref, body.alias, by=by, expected_etag=body.etag)
        return answer(done)

    @router.post("/assets/{kind}/{name}/rollback", responses=WAITING)
    def rollback(kind: Kind, name: str, body: RollbackIn, by: Caller) -> Response:
        """Moves an alias back to where it was before; of a policy only after people approved, where a rule asks for them.

        A release takes back what its promotion moved; `pins` in the answer says what became of each.
        """
        ref = Ref.parse(f"{kind}/{name}")
        if (waiting := moves.ask_rollback(ref, body.alias, by=by)) is not None:
            return waits(waiting)
        return answer(promotions.rollback(ref, body.alias, by=by))

    return router


def version_body(version: Version, aliases: dict[str, int]) -> dict[str, Any]:
    """A version as every route writes it."""
    names = [alias for alias, number in aliases.items() if number == version.version]
    return {**asdict(version), "ref": str(version.ref), "aliases": names}


def lineage_body(lineage: Lineage) -> dict[str, Any]:
    """A lineage graph: nodes by name, edges as [parent, child]."""
    return {
        "nodes": [{"ref": str(n.ref), "digest": n.digest, "created_at": n.created_at, "run": n.run} for n in lineage.nodes],
        "edges": [[edge.parent, edge.child] for edge in lineage.edges],
    }


def _asset(registry: Registry, asset: Asset, by: Principal) -> dict[str, Any]:
    newest = registry.find(Ref(kind=asset.kind, name=asset.name, version=asset.newest), scope_of(by))
    return {
        "kind": asset.kind,
        "name": asset.name,
        "team": asset.team,
        "newest": version_body(newest, dict(asset.aliases)),
        "aliases": dict(asset.aliases),
    }
