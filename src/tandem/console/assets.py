"""Assets as pages: by kind, with their versions and aliases, and one version with all that is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from tandem.console import facts, features, indexes
from tandem.console.about import about
from tandem.console.desk import POLICY, Desk
from tandem.console.graph import Graph, layout
from tandem.core.asset import KINDS, Kind, Ref, Version
from tandem.core.errors import NotFound
from tandem.data.corpus.indexes import Indexes
from tandem.data.features.features import Features
from tandem.evaluation.about.card import Cards
from tandem.evaluation.about.render import shown
from tandem.evaluation.look import Look
from tandem.governance.authorise import Scope, scope_of
from tandem.governance.projects.projects import Projects
from tandem.registry.kinds.release import pins
from tandem.registry.kinds.suite import read
from tandem.registry.nouns import Alias, Move
from tandem.registry.registry import Registry

DEPTH = 5
"""Steps of lineage that a page draws, each way."""
BOXES = 60
"""Versions that a drawing holds; the nearest come first."""
Words = Annotated[str, Query(max_length=1000)]
PNG = b"\x89PNG\r\n\x1a\n"
COMMANDS = {
    "dataset": "tandem data add NAME FILE",
    "model": "tandem train NAME --data dataset/NAME --target COLUMN, or tandem import FOLDER",
    "prompt": "tandem prompt add NAME FILE",
    "decision": "tandem decision add NAME FILE",
    "policy": "tandem policy add NAME --guard DETECTOR=ACTION",
    "suite": "tandem suite add NAME --data dataset/NAME --endpoint NAME --expect COLUMN --scorer exact",
    "router": "tandem route publish NAME FILE",
    "index": "tandem docs add NAME FOLDER",
    "release": "tandem release add NAME KIND/NAME@VERSION",
    "view": "tandem features define FILE",
    "service": "tandem features define FILE",
    "pipeline": "tandem pipeline add NAME FILE",
}
"""What makes the first asset of each kind."""
ASIDE = frozenset(
    {
        "metrics",
        "definition",
        "features",
        "entity",
        "columns",
        "inputs",
        "views",
        "importances",
        "contract",
        "profile",
        "correlations",
        "checks",
        "quarantined",
        "appended",
        "evolved",
        "references",
        "template",
        "messages",
        "variables",
        "environment",
        "signature",
        "scorers",
        "guards",
        "pins",
    }
)
"""Meta that has a place of its own on the page, where it has the expected form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A version's lineage, ready to be drawn."""

    graph: Graph
    versions: dict[str, Version]
    left_out: int


def pictures(version: Version) -> tuple[str, ...]:
    """The members that are pictures."""
    return tuple(sorted(name for name in version.members if name.endswith(".png")))


def drawing(registry: Registry, version: Version, scope: Scope) -> Drawing:
    """The lineage of a version, the nearest relatives first."""
    lineage = registry.lineage(version.ref, DEPTH, scope)
    shown = {str(node.ref): node for node in lineage.nodes[:BOXES]}
    edges = [(edge.parent, edge.child) for edge in lineage.edges]
    return Drawing(graph=layout(list(shown), edges), versions=shown, left_out=len(lineage.nodes) - len(shown))


def moves(registry: Registry, ref: Ref, scope: Scope) -> list[Move]:
    """Every move of every alias of an asset, newest first."""
    found = [
        move
        for alias in registry.aliases(ref.kind, ref.name, scope)
        for move in registry.moves(ref.kind, ref.name, alias.alias, scope)
    ]
    return sorted(found, key=lambda move: (move.alias.moved_at, move.alias.etag), reverse=True)


def routes(
    desk: Desk, registry: Registry, look: Look, documents: Indexes, computed: Features, projects: Projects, cards: Cards
) -> APIRouter:
    """The pages of Asset."""
    router = desk.router()

    @router.get("/assets")
    def rows(request: Request, kind: Annotated[Kind | None, Query()] = None) -> Response:
        by = desk.enter(request)
        found = registry.assets(kind, scope_of(by))
        kinds = KINDS if kind is None else (kind,)
        groups = [(each, [asset for asset in found if asset.kind == each]) for each in kinds]
        values = {"groups": groups, "kinds": KINDS, "kind": kind, "commands": COMMANDS}
        return desk.page(request, "assets.html", "Assets", values, by=by)

    @router.get("/assets/{kind}/{name}")
    def show(request: Request, kind: Kind, name: str) -> Response:
        by = desk.enter(request)
        scope, ref = scope_of(by), Ref.parse(f"{kind}/{name}")
        history = moves(registry, ref, scope)
        values = {
            "ref": ref,
            "versions": registry.versions(ref.kind, ref.name, scope),
            "aliases": registry.aliases(ref.kind, ref.name, scope),
            "moves": [(move, facts.report(move.report)) for move in history],
            "declared": [
                each for each in projects.declared(by) if each.thing.removeprefix("alias/").partition("@")[0] == str(ref)
            ],
        }
        return desk.page(request, "asset.html", str(ref), values, by=by)

    @router.get("/assets/{kind}/{name}/{version}")
    def one(request: Request, kind: Kind, name: str, version: str, q: Words = "", document: Words = "") -> Response:
        by = desk.enter(request)
        scope = scope_of(by)
        found = registry.find(Ref.parse(f"{kind}/{name}@{version}"), scope)
        suite = read(found.meta) if found.kind == "suite" else None
        history = [move for move in moves(registry, found.ref, scope) if move.alias.version == found.version]
        values = {
            "version_of": found,
            "aliases": [a for a in registry.aliases(found.kind, found.name, scope) if a.version == found.version],
            "reports": [(move, facts.report(move.report)) for move in history if move.report is not None],
            "scores": registry.scores(found.ref, scope),
            "drawing": drawing(registry, found, scope),
            "pictures": pictures(found),
            "metrics": facts.metrics(found.meta.get("metrics")),
            "training": facts.training(found.meta) if found.kind == "model" else None,
            "about": about(cards.about(found)) if found.kind == "model" else None,
            "shares": facts.shares(found.meta.get("importances")),
            "columns": facts.columns(found.meta),
            "ingest": facts.ingest(found.meta) if found.kind == "dataset" else None,
            "turns": facts.turns(found.meta) if found.kind == "prompt" else (),
            "source": _source(registry, found),
            "evaluations": look.of(found, by) if found.kind == "prompt" else (),
            "scorers": suite.scorers if suite is not None else (),
            "judged_by": suite.judged_by if suite is not None else "",
            "pins": _pins(registry, found, scope),
            "held": indexes.held(documents, found, q, document, by) if found.kind == "index" else None,
            "computed": features.shown(computed, found, q, by) if found.kind in ("view", "service") else None,
            "rest": {name: value for name, value in found.meta.items() if name not in ASIDE},
        }
        return desk.page(request, "version.html", str(found.ref), values, by=by)

    @router.get("/assets/model/{name}/{version}/card")
    def card(request: Request, name: str, version: str) -> Response:
        by = desk.enter(request)
        made = cards.card(Ref.parse(f"model/{name}@{version}"), by)
        values = {"card": made, "v": Ref.parse(made.ref), "shown": shown}
        return desk.page(request, "card.html", f"Card of {made.ref}", values, by=by)

    @router.get("/assets/{kind}/{name}/{version}/members/{member:path}")
    def picture(request: Request, kind: Kind, name: str, version: str, member: str) -> Response:
        """A member that is a picture; every other kind of file is handed out by the API alone."""
        by = desk.enter(request)
        found = registry.find(Ref.parse(f"{kind}/{name}@{version}"), scope_of(by))
        data = registry.member(found, member) if member in pictures(found) else b""
        if not data.startswith(PNG):
            raise NotFound(f"{found.ref} has no picture '{member}'.")
        headers = {
            "x-content-type-options": "nosniff",
            "content-security-policy": f"{POLICY}; sandbox",
            "cache-control": "private",
        }
        return Response(data, 200, headers, "image/png")

    return router


def _pins(registry: Registry, version: Version, scope: Scope) -> list[tuple[Ref, list[Alias]]]:
    """What a release pins, with the aliases that name it now."""
    if version.kind != "release":
        return []
    return [(ref, _naming(registry, ref, scope)) for ref in pins(version.meta)]


def _naming(registry: Registry, ref: Ref, scope: Scope) -> list[Alias]:
    """The aliases that name exactly this version; of another team's asset none are told."""
    try:
        return [alias for alias in registry.aliases(ref.kind, ref.name, scope) if alias.version == ref.version]
    except NotFound:
        return []


def _source(registry: Registry, version: Version) -> str | None:
    """The program of a decision or a pipeline, or the script that lay beside a model when it was imported."""
    digest = version.meta.get("source") if version.kind in ("decision", "pipeline") else None
    name = next((name for name, blob in version.members.items() if blob == digest or name.startswith("script/")), None)
    return None if name is None else registry.member(version, name).decode(errors="replace")
