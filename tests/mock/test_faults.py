"""The grammar of faults, its explanations, and which request a script hits."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.mock.faults import KINDS, NOTHING, Script, directed, parse


def endings(script: Script, requests: int, model: str = "m", key: str = "k") -> list[str]:
    """Which fault ends each of some requests; empty where none does."""
    plans = [script.take(model, key) for _ in range(requests)]
    return [plan.ending.spec if plan.ending else "" for plan in plans]


def test_a_full_spec() -> None:
    fault = parse(" 429*3@0.5;retry-after=2;model=gpt-4o;key=sk-1;skip=4 ")
    assert (fault.kind, fault.status, fault.times, fault.chance) == ("status", 429, 3, 0.5)
    assert (fault.retry_after, fault.model, fault.key, fault.skip) == ("2", "gpt-4o", "sk-1", 4)


@pytest.mark.parametrize(
    ("spec", "kind", "value"),
    [
        ("stall", "stall", 0),
        ("stall-after=5", "stall-after", 5),
        ("cut", "cut", 1),
        ("cut-after=0", "cut-after", 0),
        ("malformed", "malformed", 1),
        ("malformed-after=2", "malformed-after", 2),
        ("drip", "drip", 50),
        ("drip=0.5", "drip", 0.5),
        ("slow-headers=3", "slow-headers", 3),
        ("context", "context", 0),
        ("reset", "reset", 0),
    ],
)
def test_values(spec: str, kind: str, value: float) -> None:
    fault = parse(spec)
    assert (fault.kind, fault.value) == (kind, value)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("", "does not read as KIND"),
        ("boom", "there is no fault 'boom'"),
        ("200", "200 is not an error status"),
        ("429=3", "a status takes no value"),
        ("429*", "not a whole number from 1"),
        ("429*0", "not a whole number from 1"),
        ("429*x", "not a whole number from 1"),
        ("429*²", "not a whole number from 1"),
        ("500@", "the chance after @"),
        ("500@0", "the chance after @"),
        ("500@1.5", "the chance after @"),
        ("500@nan", "the chance after @"),
        ("500@0.1*3", "does not read as KIND|the chance after @"),
        ("429;retry-after", "needs a value"),
        ("429;retry-after=soon", "not a number of seconds"),
        ("429;retry-after=1;retry-after=2", "stands twice"),
        ("429;wait=2", "there is no option 'wait'"),
        ("cut;retry-after=2", "goes with a status only"),
        ("cut-after", "needs a number of deltas"),
        ("cut-after=-1", "not a whole number from 0"),
        ("cut=3", "takes no value"),
        ("drip=fast", "not a number of milliseconds"),
        ("usage", "usage cannot be ''"),
        ("usage=none", "usage cannot be 'none'"),
        ("refuse=500", "refuse cannot be '500'"),
        ("reset;model=gpt-4o", "reset acts before a request is read"),
    ],
)
def test_what_cannot_be_read_is_explained(spec: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason) as caught:
        parse(spec)
    assert caught.value.hint
    assert f"'{spec}'" in caught.value.message


@given(st.text(max_size=30))
def test_any_text_is_read_or_explained(spec: str) -> None:
    with contextlib.suppress(Invalid):
        assert parse(spec).spec == spec.strip()


@pytest.mark.parametrize("kind", KINDS)
def test_every_listed_kind_can_be_written(kind: str) -> None:
    known = KINDS[kind]
    word = "429" if "…" in kind else kind
    value = {"nothing": "", "deltas": "=1", "ms": "=1", "word": f"={known.words[-1] if known.words else ''}"}[known.wants]
    assert parse(word + value).spec == word + value


def test_counts_run_out_one_after_the_other() -> None:
    assert endings(Script(["429*2", "500*1"]), 4) == ["429*2", "429*2", "500*1", ""]


def test_skip_lets_requests_pass_first() -> None:
    assert endings(Script(["503*1;skip=2"]), 4) == ["", "", "503*1;skip=2", ""]


def test_only_the_named_model_or_key() -> None:
    script = Script(["500;model=a", "401;key=bad"])
    assert endings(script, 1, model="a") == ["500;model=a"]
    assert endings(script, 1, model="b") == [""]
    assert endings(script, 1, model="b", key="bad") == ["401;key=bad"]


def test_chances_are_seeded_and_near_their_mark() -> None:
    one, same, other = (endings(Script(["500@0.25"], seed), 2000) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert 400 < sum(map(bool, one)) < 600


def test_shaping_faults_add_up_and_one_ending_wins() -> None:
    plan = Script(["drip=2", "usage=wrong", "cut-after=3", "drip=3", "500"]).take("m", "k")
    assert plan.ending is not None
    assert (plan.ending.spec, plan.drip, plan.usage) == ("cut-after=3", 5, "wrong")
    assert plan.specs == "drip=2 usage=wrong cut-after=3 drip=3"


def test_reset_is_taken_by_connections_only() -> None:
    script = Script(["reset*1"])
    assert script.take("m", "k") is NOTHING
    assert [script.resets(), script.resets()] == [True, False]


def test_a_list_with_a_wrong_fault_changes_nothing() -> None:
    script = Script(["429*1"])
    with pytest.raises(Invalid):
        script.replace(["500", "boom"])
    assert endings(script, 2) == ["429*1", ""]


def test_replacing_starts_afresh() -> None:
    script = Script(["429*1"])
    assert endings(script, 2) == ["429*1", ""]
    script.replace(["429*1"])
    assert endings(script, 2) == ["429*1", ""]


@pytest.mark.parametrize("spec", ["429*2", "429;skip=1"])
def test_a_fault_of_one_request_counts_no_requests(spec: str) -> None:
    with pytest.raises(Invalid, match="holds for that request alone"):
        directed(spec)
