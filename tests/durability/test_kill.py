"""`kill -9` in the middle of a transaction of the ledger: nothing of it is there, and the next writer has its turn at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tandem.core.clock import SystemClock
from tandem.core.policy import Budget
from tandem.core.secret import Secret
from tandem.governance.ledger import Ledger, Want
from tests.postgres import Server

NUMBERS = count()
CHILD = """
import os, sys
from pathlib import Path
from tandem.core.clock import SystemClock
from tandem.core.secret import Secret
from tandem.governance.ledger import Ledger
place = sys.argv[1]
ledger = Ledger(Secret(place) if "://" in place else Path(place), SystemClock())
with ledger._rows.writing():
    ledger._rows.run("UPDATE budgets SET cap = 7")
    ledger._rows.run("UPDATE accounts SET settled = 7")
    os.kill(os.getpid(), 9)
"""


@pytest.fixture(params=["file", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file":
        yield str(tmp_path / "ledger.db")
        return
    server: Server = request.getfixturevalue("postgres")
    yield server.database(f"killed{next(NUMBERS)}")


def test_a_transaction_of_the_ledger_that_is_killed_leaves_nothing_and_holds_up_nobody(place: str) -> None:
    want = Want(scope="org", meter="day", need=40, like=40)
    ledger = Ledger(Secret(place) if "://" in place else Path(place), SystemClock())
    ledger.set_budget(Budget(scope="org", cap=100))
    assert isinstance(ledger.lease("a", [want]), list)
    killed = subprocess.run([sys.executable, "-c", CHILD, place], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert isinstance(ledger.lease("a", [want]), list)
    (account,) = ledger.accounts()
    assert (account.cap, account.settled, account.reserved) == (100, 0, 80)
    ledger.close()
