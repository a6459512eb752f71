"""A fake platform on loopback and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tandem_sdk import Client
from tandem_sdk.fake import FakePlatform


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with FakePlatform() as platform:
        yield platform


@pytest.fixture
def client(platform: FakePlatform) -> Iterator[Client]:
    with Client(platform.url, "tdm_test") as client:
        yield client
