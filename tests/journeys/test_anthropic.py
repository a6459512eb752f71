"""Anthropic's own client, unmodified, against a whole platform: an endpoint of a model, and one that answers from documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic
import pytest

from tandem_sdk import Client
from tests.journeys.conftest import ADMIN, Platform, until

pytestmark = pytest.mark.journey


def test_the_unmodified_client_is_answered_by_models_and_from_documents(house: Platform, tmp_path: Path) -> None:
    ask: Any = [{"role": "user", "content": "How many days of vacation are there in a year?"}]
    (tmp_path / "rules.md").write_text("# Leave\n\nEvery employee has thirty days of vacation in a year.\n")
    with Client(house.url, key=ADMIN) as tandem:
        tandem.runs.wait(tandem.indexes.add("rules", str(tmp_path), readers=["everyone"]).id)
        tandem.assets.promote("index/rules@1", "production")
        until(lambda: any(endpoint.name == "rules" for endpoint in tandem.endpoints.list()))
    with anthropic.Anthropic(base_url=f"{house.url}/anthropic", api_key=ADMIN, max_retries=0) as client:
        whole = client.messages.create(model="assistant", max_tokens=40, messages=ask)
        assert whole.content[0].type == "text"
        for endpoint in ("assistant", "rules"):
            with client.messages.stream(model=endpoint, max_tokens=60, messages=ask) as stream:
                said = stream.get_final_message()
            assert said.stop_reason in ("end_turn", "max_tokens")
            assert said.content[0].type == "text"
        assert "thirty days of vacation" in said.content[0].text
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(model="nobody", max_tokens=40, messages=ask)
