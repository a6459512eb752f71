"""Whether the row rules of a contract can be computed over its columns, found out before any file comes.

`python -m tandem.data.proof` is the child; see `tandem.jobs.apart`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tandem.data.contract import Contract
from tandem.jobs.apart import Progress, ask, serve, silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """Nothing was found."""


def prove_apart(contract: Contract) -> None:
    """Has a child process look at the row rules; a contract without any needs none.

    Raises:
        Invalid: an expression is none, reads a column that is missing, or says something else than true and false.
    """
    if contract.rows:
        ask("tandem.data.proof", contract, Proven)


def prove(contract: Contract, progress: Progress = silent) -> Proven:
    """Computes each row rule over no rows, in this process.

    Raises:
        Invalid: see `prove_apart`.
    """
    import polars as pl

    from tandem.data.check import truths
    from tandem.data.dtypes import POLARS

    empty = pl.DataFrame(schema={column.name: POLARS[column.dtype] for column in contract.columns})
    for rule in contract.rows:
        truths(empty, rule)
    return Proven()


def main() -> int:
    return serve(Contract, prove)


if __name__ == "__main__":
    raise SystemExit(main())
