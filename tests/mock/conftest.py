"""A mock on a free port, and the unmodified OpenAI client in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI

from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings


@pytest.fixture
async def mock() -> AsyncIterator[MockHandle]:
    async with running(MockSettings(port=0)) as handle:
        yield handle


@pytest.fixture
async def client(mock: MockHandle) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{mock.url}/v1", api_key="sk-test", max_retries=0, timeout=20) as opened:
        yield opened
