"""What stands behind an endpoint, as its page says it."""

from __future__ import annotations

import pytest

from tandem.console.endpoints import standing
from tandem.core.endpoint import Endpoint, EndpointKind, Target
from tandem.gateway.snapshot import Host, Served, Snapshot
from tandem.governance.authorise import ALL

RULES = Served(ref="index/rules@2", members="", digest="sha256:0", meta=b"{}")


@pytest.mark.parametrize(
    ("kind", "target", "served", "missing"),
    [
        ("chat", "mock/gpt-4o-mini", None, False),
        ("chat", "far/gpt-4o-mini", None, True),
        ("chat", "index/rules@2", RULES, False),
        ("chat", "index/gone@1", None, True),
        ("predict", "model/gone@1", None, True),
    ],
)
def test_what_is_behind_an_endpoint_is_told(kind: EndpointKind, target: str, served: Served | None, missing: bool) -> None:
    snapshot = Snapshot(
        version=1,
        compiled_at=1,
        hosts={"mock": Host(name="mock", protocol="openai", base_url="http://127.0.0.1:9/v1", keys=())},
        endpoints={"e": Endpoint(name="e", kind=kind, route=(Target(target=target),))},
        served={RULES.ref: RULES},
    )
    (found,) = standing(snapshot, ALL)
    assert [(one.served, one.missing) for one in found.behind] == [(served, missing)]
