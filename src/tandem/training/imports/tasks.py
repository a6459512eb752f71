"""Import: a folder of models becomes model versions, endpoints and, if wanted, one decision over them.

unpack → for each model: examine (in a child process) and publish → promote → decide. A model that cannot be imported is told
with the reason, and the others go on.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from tandem.core.asset import Ref, Version, check_name
from tandem.core.errors import Broken, Invalid, TandemError
from tandem.core.principal import Principal
from tandem.evaluation.approved import Moves
from tandem.evaluation.promote import Promotions
from tandem.governance.audit import Audit
from tandem.governance.authorise import scope_of
from tandem.jobs import staging
from tandem.jobs.apart import ask, bare_environment
from tandem.jobs.job import Job, Work
from tandem.registry.kinds.model import IMPORTED
from tandem.registry.registry import Registry
from tandem.serving.base import CARD, Trust, digest_of
from tandem.serving.signature import Signature
from tandem.store.sql import Sql
from tandem.training.imports.find import Candidate, Listing
from tandem.training.imports.nouns import NETWORK, Examined, Order
from tandem.training.imports.unpack import Upload

KIND = "import"
UPLOAD = "upload.tar"
SECONDS = 300.0
"""The longest examination of one model, and the longest unpacking."""
AT_ONCE = 2
"""Models that are examined at the same time."""
EXAMINE, UNPACK = "tandem.training.imports.examine", "tandem.training.imports.unpack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The inputs of an importing Run; keys it does not know are left alone."""

    prefix: str = ""
    trust: tuple[str, ...] = ()
    """What may be executed; the settings trust it too."""
    promote: str = ""
    """The alias that each version is promoted to; empty: none."""
    decision: str = ""
    """Over all models that were imported; empty: none."""
    commit: str = ""
    remote: str = ""
    """Of the repository that the folder is in."""
    by: Principal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A model of a decision."""

    ref: str
    signature: Signature
    classes: tuple[str, ...]
    weight: float


Compose = Callable[[str, Sequence[Part], Principal], Version]
"""(name of the decision, its models, who) → the version that was published; raises TandemError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of one candidate."""

    name: str
    path: str
    ref: str = ""
    """Empty where it was not imported; then there is a reason."""
    framework: str = ""
    version: str = ""
    runtime: str = ""
    largest: float | None = None
    """Difference of two answers; see `examine.LARGEST`."""
    compared: str = ""
    trusted: tuple[str, ...] = ()
    reason: str = ""
    hint: str | None = None
    promoted: str = ""
    """The alias that names it."""
    request: str = ""
    """That waits for people before the alias moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What an import works with."""

    registry: Registry
    promotions: Promotions
    moves: Moves
    sql: Sql
    audit: Audit
    compose: Compose
    trust: tuple[Trust, ...]
    """What the settings of this machine let be executed, whatever they said when the Run was asked for."""
    work: Path
    """Where Runs keep files while they work; the upload lies in the Run's folder, which is gone when the Run has ended."""


def make_import(stores: Stores) -> Work:
    """The workflow `import`.

    Its Run's outputs are `models` (see `Imported`), `failed` (how many were not imported or not promoted), `decision` (its
    ref, or null) and `decision_reason`.
    """

    def bring(job: Job) -> Mapping[str, object]:
        inputs = _inputs(job)
        by = inputs.by or job.by
        folder = stores.work / job.run_id
        try:
            job.progress(0.0, "unpacking")
            listing = job.step("unpack", lambda: _unpack(stores, job, inputs, folder, by), Listing)
            left = [Imported(name="", path=each.path, reason=each.reason, hint=each.hint) for each in listing.left]
            done = job.step("import", lambda: _bring(stores, job, inputs, listing, folder, by), list[Imported])
            alias = inputs.promote or ("production" if inputs.decision else "")
            if alias:
                job.progress(0.92, "promoting")
                done = job.step("promote", lambda: [_promote(stores, each, alias, by) for each in done], list[Imported])
            decision, reason = None, ""
            if inputs.decision:
                job.progress(0.96, "deciding")
                weights = {one.name: one.told.weight for one in listing.candidates}
                decision, reason = job.step("decide", lambda: _decide(stores, inputs, done, weights, by), tuple[str | None, str])
            job.progress(1.0, "done")
        finally:
            if job.halted() not in ("stopping", "lost"):
                staging.clear(folder)
        models = left + done
        return {
            "models": msgspec.to_builtins(models),
            "failed": sum(bool(each.reason) for each in models) + bool(reason),
            "decision": decision,
            "decision_reason": reason,
        }

    return bring


def _inputs(job: Job) -> Inputs:
    try:
        return msgspec.convert(dict(job.inputs), Inputs)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"The import's inputs are wrong: {error}.", field="inputs", hint="Look at `tandem import --help`."
        ) from None


def _unpack(stores: Stores, job: Job, inputs: Inputs, folder: Path, by: Principal) -> Listing:
    """Lays the upload out and lists it; before anything of it is opened, the audit says what may be executed."""
    upload = folder / UPLOAD
    with stores.sql.write() as conn:
        stores.audit.append(
            conn,
            actor=by.name,
            action="model.import",
            subject=f"run/{job.run_id}",
            team=by.team,
            detail={
                "upload": digest_of(upload),
                "trusted": inputs.trust,
                "promote": inputs.promote,
                "decision": inputs.decision,
                "commit": inputs.commit,
                "remote": inputs.remote,
            },
        )
    order = Upload(tar=str(upload), folder=str(folder / "folder"))
    return ask(UNPACK, order, Listing, cancelled=job.cancelled, seconds=SECONDS, env=bare_environment())


def _bring(stores: Stores, job: Job, inputs: Inputs, listing: Listing, folder: Path, by: Principal) -> list[Imported]:
    """Examines the candidates, some at a time, and publishes them in order; the same content again is the version that it was."""
    done = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ahead = [pool.submit(_examine, stores, job, inputs, one, folder) for one in listing.candidates]
        for number, (one, found) in enumerate(zip(listing.candidates, ahead, strict=True)):
            job.progress(0.05 + 0.85 * number / len(ahead), f"{one.name}: examining")
            done.append(_published(stores, job, inputs, one, found, folder, by))
    return done


def _examine(stores: Stores, job: Job, inputs: Inputs, one: Candidate, folder: Path) -> Examined:
    out = folder / "out" / one.name
    staging.clear(out)
    trust = tuple(word for word in inputs.trust if word in stores.trust)
    order = Order(candidate=one, folder=str(folder / "folder"), out=str(out), trust=trust)
    return ask(EXAMINE, order, Examined, cancelled=job.cancelled, seconds=SECONDS, env=bare_environment())


def _published(
    stores: Stores, job: Job, inputs: Inputs, one: Candidate, examined: Future[Examined], folder: Path, by: Principal
) -> Imported:
    out = folder / "out" / one.name
    try:
        name, found = check_name(inputs.prefix + one.name), examined.result()
        version = _publish(stores, job, inputs, one, name, found, out, by)
    except TandemError as error:
        if error.code == "cancelled":
            raise
        return Imported(name=one.name, path=one.path, reason=error.message, hint=error.hint)
    finally:
        staging.clear(out)
    return Imported(
        name=version.name,
        path=one.path,
        ref=str(version.ref),
        framework=found.framework,
        version=found.version,
        runtime=found.runtime,
        largest=found.parity.largest,
        compared=found.compared,
        trusted=found.trusted,
    )


def _publish(
    stores: Stores, job: Job, inputs: Inputs, one: Candidate, name: str, found: Examined, out: Path, by: Principal
) -> Version:
    for member, digest in found.members.items():
        if digest_of(out / member) != digest:
            raise Broken(f"The file {member} is missing or was changed.", hint="Import it again.")
    parents = (str(stores.registry.find(Ref.parse(one.told.dataset), scope_of(by)).ref),) if one.told.dataset else ()
    git = {key: told for key, told in (("git", inputs.commit), ("remote", inputs.remote)) if told}
    return stores.registry.publish(
        "model",
        name,
        members={member: out / member for member in found.members},
        meta={
            "origin": IMPORTED,
            "framework": found.framework,
            "algorithm": found.framework,
            "signature": msgspec.to_builtins(found.signature),
            "task": found.task,
            "classes": found.classes,
            "threshold": found.threshold,
            "runtime": found.runtime,
            "card": found.members[CARD],
            "trusted": found.trusted,
            "parity": msgspec.to_builtins(found.parity),
            "source": {"path": one.mlmodel or one.path, "digest": found.source, "script": one.script},
            **({"target": one.told.target} if one.told.target else {}),
            **({"dataset": parents[0]} if parents else {}),
            "environment": {
                **found.environment,
                "platform": platform.platform(),
                **{key: told for key, told in git.items() if told},
            },
        },
        parents=parents,
        run=job.run_id,
        by=by,
    )


def _promote(stores: Stores, one: Imported, alias: str, by: Principal) -> Imported:
    """Moves the alias, as `tandem promote` would: by the gate, and after people where a rule asks for them."""
    if not one.ref or one.runtime == NETWORK:
        return one
    try:
        waiting = stores.moves.ask_promote(Ref.parse(one.ref), alias, by=by)
        if waiting is not None:
            return replace(one, request=waiting.id)
        stores.promotions.promote(Ref.parse(one.ref), alias, by=by)
    except TandemError as error:
        return replace(one, reason=error.message, hint=error.hint)
    return replace(one, promoted=alias)


def _decide(
    stores: Stores, inputs: Inputs, done: Sequence[Imported], weights: Mapping[str, float], by: Principal
) -> tuple[str | None, str]:
    """Publishes and promotes the decision; without it, why."""
    try:
        parts = []
        for each in done:
            if each.promoted:
                meta = stores.registry.find(Ref.parse(each.ref), scope_of(by)).meta
                signature = msgspec.convert(meta["signature"], Signature)
                classes = msgspec.convert(meta["classes"], tuple[str, ...])
                weight = weights.get(each.name.removeprefix(inputs.prefix), 1.0)
                parts.append(Part(ref=each.ref, signature=signature, classes=classes, weight=weight))
        if not parts:
            raise Invalid("No model answers that the decision could ask.", hint="Look at the reasons above.")
        version = stores.compose(inputs.decision, parts, by)
        stores.promotions.promote(version.ref, inputs.promote or "production", by=by)
    except TandemError as error:
        return None, str(error)
    return str(version.ref), ""
