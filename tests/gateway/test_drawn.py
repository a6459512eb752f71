"""Who answers at an endpoint of models."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Invalid
from tandem.gateway.check import check_endpoint
from tandem.gateway.wires.served import drawn

CHAMPION, CANARY = Target(target="model/m@1"), Target(target="model/m@2", role="canary", share=0.2)


def test_a_canary_has_its_share() -> None:
    dice = random.Random(1)
    seen = Counter(drawn((CHAMPION, CANARY), dice).target for _ in range(5_000))
    assert seen["model/m@2"] == pytest.approx(1_000, rel=0.1)
    assert drawn((CANARY,), dice) == CANARY
    assert drawn((CHAMPION,), dice) == CHAMPION


def test_a_version_without_an_alias_may_only_be_tried_where_it_is_watched() -> None:
    route = (Target(target="model/m@production"), CANARY)
    endpoint = Endpoint(name="m", kind="predict", route=route)
    check_endpoint(endpoint, watched=True)
    with pytest.raises(Invalid, match="no alias"):
        check_endpoint(endpoint)
    with pytest.raises(Invalid, match="no alias"):
        check_endpoint(Endpoint(name="m", kind="predict", route=(CHAMPION,)), watched=True)
