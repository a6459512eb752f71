"""The vendor's own client, unmodified, against a whole platform: whole answers, streams, and tools."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.journeys.conftest import ADMIN, Platform

pytestmark = pytest.mark.journey


def test_the_unmodified_client_streams_and_calls_tools(house: Platform) -> None:
    ask: Any = [{"role": "user", "content": "Say in one sentence what a biopsy is."}]
    parameters = {"type": "object", "properties": {"day": {"type": "string"}}}
    tool: Any = {"type": "function", "function": {"name": "book", "parameters": parameters}}
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key=ADMIN, max_retries=0) as client:
        completions = client.chat.completions
        whole = completions.create(model="assistant", messages=ask, max_tokens=40)
        assert whole.choices[0].message.content
        with completions.create(model="assistant", messages=ask, max_tokens=40, stream=True) as stream:
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        assert len([piece for piece in pieces if piece]) > 1
        called = completions.create(model="assistant", messages=ask, tools=[tool], tool_choice="required", max_tokens=40)
        assert [call.function.name for call in called.choices[0].message.tool_calls or []] == ["book"]  # type: ignore[union-attr]
