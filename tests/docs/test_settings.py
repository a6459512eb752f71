"""docs/settings.md and the settings are the same: every key, every default, nothing more."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

import pytest

from tandem.core.endpoint import Target, Timeouts
from tandem.jobs.pieces import Compute
from tandem.settings import options
from tandem.settings.read import RESERVED, SECTIONS
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "settings.md").read_text()
TABLES: Mapping[str, Any] = {
    "## `[server]`": options.ServerOptions,
    "## `[store]`": options.StoreOptions,
    "## `[sign_in]`": options.SignInOptions,
    "## `[oidc.NAME]`": options.OidcOptions,
    "## `[data]`": options.DataOptions,
    "## `[decisions]`": options.DecisionOptions,
    "## `[pipelines]`": options.PipelineOptions,
    "## `[serving]`": options.ServingOptions,
    "## `[compute]`": Compute,
    "## `[traces]`": options.TraceOptions,
    "## `[retention.NAME]`": options.RetentionOptions,
    "## `[prices]`": options.PriceOptions,
    "## `[providers.NAME]`": options.ProviderOptions,
    "## `[endpoints.NAME]`": options.EndpointOptions,
    "### `route = [{ … }]`": Target,
    "### `timeouts = { … }`": Timeouts,
    "## `[alerts.NAME]`": options.AlertOptions,
    "## `[approvals.NAME]`": options.ApprovalOptions,
}


def section(heading: str) -> str:
    after = PAGE.split(f"\n{heading}\n", 1)[1]
    return re.split(r"^##", after, maxsplit=1, flags=re.MULTILINE)[0]


def rows(heading: str) -> dict[str, tuple[str, str]]:
    found = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", section(heading), re.MULTILINE)
    return {key: (default, meaning) for key, default, meaning in found}


def written(option: Field[Any]) -> str:
    """A default as the page writes it."""
    default = option.default if option.default is not MISSING else option.default_factory
    if default is MISSING:
        return "required"
    if default is dict:
        return "`{}`"
    if is_dataclass(default):
        return "see below"
    if default is None:
        return "none"
    if isinstance(default, tuple):
        return f"`{json.dumps(default)}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"


@pytest.mark.parametrize("heading", TABLES)
def test_the_page_lists_every_key_with_its_default(heading: str) -> None:
    told = {key: default for key, (default, _) in rows(heading).items()}
    assert told == {option.name: written(option) for option in fields(TABLES[heading])}


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_has_a_meaning(heading: str) -> None:
    assert all(len(meaning) > 10 and meaning.endswith(".") for _, meaning in rows(heading).values())


def test_every_section_of_the_file_has_one_here() -> None:
    named = {re.match(r"#+ `\[?(\w+)", heading)[1] for heading in TABLES if heading.startswith("## ")}  # type: ignore[index]
    assert named == set(SECTIONS)
    assert re.findall(r"^#{2,3} `.+`$", PAGE, re.MULTILINE) == list(TABLES)


def test_every_reserved_name_is_told() -> None:
    told = set(re.findall(r"^\| `(TANDEM_\w+)`", PAGE, re.MULTILINE))
    assert told == RESERVED
