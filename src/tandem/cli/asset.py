"""`tandem asset`: everything named and versioned."""

from __future__ import annotations

import json

import click

from tandem.cli.options import as_json, platform
from tandem.cli.show import clean, emit, interval, moment, pairs, short, table
from tandem_sdk import About, Asset, AssetSummary, Lineage, Move, VersionDetail
from tandem_sdk.assets import split
from tandem_sdk.verdicts import estimates

COLUMNS = 10
"""Columns of a model that people are shown, those that count most."""
META_CHARACTERS = 400
"""Characters of one piece of a version's meta that people are shown; --json has all of it."""


@click.group()
def asset() -> None:
    """Assets: datasets, models, prompts, decisions, policies, suites, releases."""


@asset.command("list")
@click.option("--kind", metavar="KIND", help="Only dataset, model, prompt, decision, policy, suite, index, router or release.")
@as_json
def list_assets(kind: str | None, as_json: bool) -> None:
    """List assets with their newest version and aliases."""
    with platform() as tandem:
        assets = tandem.assets.list(kind)
    if as_json:
        emit(assets)
        return
    table(("asset", "newest", "aliases", "made", "by"), [_summary(found) for found in assets])


@asset.command()
@click.argument("ref")
@as_json
def show(ref: str, as_json: bool) -> None:
    """Show an asset (model/tumor) or one version of it (model/tumor@2, model/tumor@production)."""
    with platform() as tandem:
        if split(ref)[2] is None:
            asset = tandem.assets.show(ref)
            (emit if as_json else _asset)(asset)
            return
        version = tandem.assets.version(ref)
        about = tandem.assets.about(version.ref) if version.kind == "model" and not as_json else About()
    if as_json:
        emit(version)
    else:
        _version(version)
        _about(about)


@asset.command()
@click.argument("ref")
@click.option("--as", "form", type=click.Choice(["md", "html", "json"]), default="md", show_default=True)
@as_json
def card(ref: str, form: str, as_json: bool) -> None:
    """Print the card of a model version: what is recorded about it, each fact with its source."""
    with platform() as tandem:
        if as_json or form == "json":
            emit(tandem.assets.card(ref))
        else:
            click.echo(tandem.assets.card_text(ref, form), nl=False)


@asset.command()
@click.argument("ref")
@as_json
def lineage(ref: str, as_json: bool) -> None:
    """Draw what a version came from and what was made of it."""
    with platform() as tandem:
        version = tandem.assets.version(ref)
    if as_json:
        emit(version.lineage)
        return
    _lineage(version.ref, version.lineage)


def _summary(found: AssetSummary) -> tuple[object, ...]:
    aliases = ", ".join(f"{alias} → {version}" for alias, version in found.aliases.items())
    newest = found.newest
    about = (
        (None, aliases, None, None) if newest is None else (newest.version, aliases, moment(newest.created_at), newest.created_by)
    )
    return (f"{found.kind}/{found.name}", *about)


def _asset(asset: Asset) -> None:
    click.echo(f"{asset.kind}/{asset.name}")
    for alias, state in asset.aliases.items():
        click.echo(f"  {alias} → {state.version}  (etag {state.etag})")
    click.echo()
    rows = [(v.version, v.aliases, short(v.digest), moment(v.created_at), v.created_by, v.parents, v.run) for v in asset.versions]
    table(("version", "aliases", "digest", "made", "by", "made from", "run"), rows)
    if asset.history:
        click.echo()
        table(("when", "who", "did", "alias", "version", "gate"), [_move(move) for move in asset.history])


def _move(move: Move) -> tuple[object, ...]:
    now = move.alias
    return (moment(now.moved_at), now.moved_by, move.action, now.alias, now.version, "none" if now.ungated else "passed")


def _version(version: VersionDetail) -> None:
    click.echo(version.ref)
    pairs(
        [
            ("digest", version.digest),
            ("made", f"{moment(version.created_at)} by {version.created_by}, team {version.team}"),
            ("aliases", version.aliases),
            ("made from", version.parents),
            ("run", version.run),
            ("files", tuple(version.members)),
            *[(name, _cut(value)) for name, value in version.meta.items() if name != "metrics"],
        ]
    )
    metrics = estimates(version.meta.get("metrics"))
    if metrics:
        click.echo()
        table(("metric", "value [95 % interval]"), [(name, interval(estimate)) for name, estimate in metrics.items()])
    if version.scores:
        click.echo()
        rows = [(score.scorer, score.value, score.low, score.high, score.n, score.label) for score in version.scores]
        table(("score", "value", "low", "high", "n", "label"), rows)


def _about(about: About) -> None:
    """Where a model does worse, how it treats groups, and which columns it answers by."""
    if about.slices is not None:
        click.echo()
        rows = [(each.name, each.n, each.inside, each.outside, interval(each.difference)) for each in about.slices.found]
        heads = ("does worse where", "rows", about.slices.loss, "elsewhere", "difference")
        table(heads, rows, empty=f"No part of the rows was found in which {about.slices.loss} is higher than in the rest.")
    for told in about.fairness:
        click.echo()
        gaps = [(gap.measure, " and ".join(gap.widest), interval(gap.estimate), gap.small) for gap in told.gaps]
        table((f"by {told.column}", "furthest apart", "gap [95 % interval]", "too small"), gaps)
    if about.importance is not None:
        click.echo()
        features = [(each.name, interval(each.added), each.direction, interval(each.lost)) for each in about.importance.features]
        lost = f"{about.importance.loss} added when shuffled"
        table(("column", "mean contribution", "direction", lost), features[:COLUMNS])


def _cut(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= META_CHARACTERS else f"{text[:META_CHARACTERS]}… ({len(text)} characters, --json has all)"


def _lineage(ref: str, lineage: Lineage) -> None:
    """Two trees around the version: above it where it came from, below it what was made of it."""
    digests = {node.ref: short(node.digest) for node in lineage.nodes}
    parents: dict[str, list[str]] = {}
    children: dict[str, list[str]] = {}
    for edge in lineage.edges:
        if len(edge) == 2:
            children.setdefault(edge[0], []).append(edge[1])
            parents.setdefault(edge[1], []).append(edge[0])
    click.echo(f"{clean(ref)}  {digests.get(ref, '')}")
    for title, graph in (("made from", parents), ("made into", children)):
        click.echo(f"{title}{'' if graph.get(ref) else ': nothing'}")
        _branch(ref, graph, digests, 1, {ref})


def _branch(ref: str, graph: dict[str, list[str]], digests: dict[str, str], depth: int, seen: set[str]) -> None:
    for other in graph.get(ref, ()):
        again = other in seen
        click.echo(f"{'  ' * depth}{clean(other)}  {'(see above)' if again else digests.get(other, '')}".rstrip())
        if not again:
            seen.add(other)
            _branch(other, graph, digests, depth + 1, seen)
