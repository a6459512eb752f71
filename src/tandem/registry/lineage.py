"""Lineage: what a version was made from, and what was made from it. It changes nothing."""

from __future__ import annotations

from sqlalchemy import Connection

from tandem.core.asset import Ref, Version
from tandem.core.errors import Invalid
from tandem.governance.authorise import Scope
from tandem.registry.find import Desk, resolve
from tandem.registry.nouns import Edge, Lineage

DEPTH_LIMIT = 32
NODES_LIMIT = 2000


def lineage(desk: Desk, ref: Ref, depth: int, scope: Scope) -> Lineage:
    """Walks `depth` steps to ancestors and as many to descendants; see `Registry.lineage`."""
    if not 0 <= depth <= DEPTH_LIMIT:
        raise Invalid(f"A lineage cannot be {depth} deep.", hint=f"Use 0 to {DEPTH_LIMIT}.", field="depth")
    with desk.sql.read() as conn:
        start = resolve(desk, conn, ref, scope)
        nodes, edges = {str(start.ref): start}, dict[Edge, None]()
        for up in (True, False):
            _walk(desk, conn, start, depth, scope, up=up, nodes=nodes, edges=edges)
    return Lineage(nodes=tuple(nodes.values()), edges=tuple(edges))


def _walk(
    desk: Desk,
    conn: Connection,
    start: Version,
    depth: int,
    scope: Scope,
    *,
    up: bool,
    nodes: dict[str, Version],
    edges: dict[Edge, None],
) -> None:
    level, seen = [start.ref], {str(start.ref)}
    for _ in range(depth):
        reached: list[Ref] = []
        for edge in desk.versions.edges(conn, level, up=up):
            end = edge.parent if up else edge.child
            version = nodes.get(end) or _visible(desk, conn, end, scope)
            if version is None or len(nodes) >= NODES_LIMIT:
                continue
            nodes[end] = version
            edges[edge] = None
            if end not in seen:
                seen.add(end)
                reached.append(version.ref)
        level = reached
        if not level:
            return


def _visible(desk: Desk, conn: Connection, text: str, scope: Scope) -> Version | None:
    ref = Ref.parse(text)
    assert ref.version is not None  # an edge names versions
    version = desk.versions.one(conn, ref.kind, ref.name, ref.version)
    return version if version is not None and scope.admits(version.team) else None
