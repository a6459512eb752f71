"""One ingest in a process of its own, so that the control process never loads the frame libraries.

`python -m tandem.data.child` reads an `Order` as JSON on stdin and writes a `Reply` on stdout. The file is read,
checked and, when its content is new, written to the lake; a file that is refused changes nothing.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tandem.core.errors import Broken, Conflict, Invalid, NotFound, TandemError, TimedOut, Unavailable
from tandem.data.contract import Contract

SECONDS = 900.0
"""The longest ingest; a file of the largest size that is read takes a third of it."""
TAIL = 500
"""Characters of the child's last words that an error quotes."""
_KINDS: dict[str, type[TandemError]] = {kind.code: kind for kind in (Invalid, NotFound, Conflict, Broken, Unavailable)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be ingested."""

    path: str
    """The file; its name is what messages call it, its suffix says its format."""
    lake: str
    """The lake's directory."""
    table: str
    id_column: str | None = None
    time_column: str | None = None
    contract: Contract | None = None
    """What the file must keep to; inferred from it when missing."""
    known: tuple[str, int] | None = None
    """A content digest and the table's version that holds it already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A file that is in the lake."""

    rows: int
    digest: str
    """`sha256:…` over schema and values; see `tandem.data.digest`."""
    contract: Contract
    profile: msgspec.Raw
    """As `tandem.data.profile.Profile.to_json` wrote it."""
    version: int
    """The table's version that holds the rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One of our errors on its way between processes."""

    code: str
    message: str
    hint: str | None = None
    field: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of an order: exactly one of the two."""

    done: Done | None = None
    fault: Fault | None = None


def ingest_apart(order: Order, *, python: str = sys.executable) -> Done:
    """Has a child process ingest a file.

    Raises:
        Invalid: the file is broken or breaks its contract; names row, line and column of up to 20 faults.
        Conflict: somebody else wrote the table meanwhile.
        TimedOut: it took too long.
        Broken: the child died.
    """
    try:
        ended = subprocess.run(
            [python, "-m", "tandem.data.child"],
            input=msgspec.json.encode(order),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(f"The file was not read within {SECONDS:g} s.", hint="Split it, or hand in Parquet.") from None
    if ended.returncode < 0:
        raise Broken(
            f"The process that read the file was killed by signal {-ended.returncode}.",
            hint="Most often that is the machine running out of memory: split the file, or hand in Parquet.",
        )
    if ended.returncode != 0:
        last = ended.stderr.decode(errors="replace").strip()[-TAIL:]
        raise Broken(f"The process that read the file ended with code {ended.returncode}: {last}", hint="Report this fault.")
    reply = msgspec.json.decode(ended.stdout, type=Reply)
    if reply.fault is not None:
        raise _KINDS.get(reply.fault.code, Broken)(reply.fault.message, hint=reply.fault.hint, field=reply.fault.field)
    if reply.done is None:
        raise Broken("The process that read the file said nothing.", hint="Report this fault.")
    return reply.done


def carry_out(order: Order) -> Done:
    """Reads, checks and stores a file, in this process.

    Raises:
        Invalid: see `tandem.data.ingest.ingest`.
        Conflict, Broken: see `tandem.store.lake.Lake.write`.
    """
    from tandem.data.ingest import ingest
    from tandem.store.lake import Lake

    read = ingest(Path(order.path), id_column=order.id_column, time_column=order.time_column, contract=order.contract)
    if order.known is not None and order.known[0] == read.digest:
        version = order.known[1]
    else:
        version = Lake(Path(order.lake)).write(order.table, read.frame)
    return Done(
        rows=read.rows,
        digest=read.digest,
        contract=read.contract,
        profile=msgspec.Raw(read.profile.to_json()),
        version=version,
    )


def main() -> int:
    try:
        reply = Reply(done=carry_out(msgspec.json.decode(sys.stdin.buffer.read(), type=Order)))
    except TandemError as error:
        reply = Reply(fault=Fault(code=error.code, message=error.message, hint=error.hint, field=error.field))
    except ModuleNotFoundError as error:
        said = f"Datasets need the library '{error.name}', which is not installed."
        reply = Reply(fault=Fault(code=Unavailable.code, message=said, hint="Install it with: pip install 'tandem-ai[ml]'."))
    sys.stdout.buffer.write(msgspec.json.encode(reply))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
