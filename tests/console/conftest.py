"""One furnished home for all tests of the console; they only look at it."""

from __future__ import annotations

import pytest

from tests.console.house import House


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("console")).furnish()
