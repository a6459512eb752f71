"""What is still in a provider's cache, and where a conversation goes: the same in every worker, shares by weight."""

from __future__ import annotations

import json
from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.endpoint import Target
from tandem.gateway.asked import Prompted
from tandem.gateway.routing.seen import BLOCK, BYTES_A_TOKEN, MOST_BLOCKS, Seen
from tandem.gateway.routing.warm import KEPT, MOST, TRUST, Warm, draw, settled

A, B = Target(target="p/a", weight=3), Target(target="p/b", weight=1)


def seen(messages: list[dict[str, object]], **more: object) -> Seen:
    body = json.dumps({"model": "m", "messages": messages, **more}).encode()
    return Seen(Prompted(verb="chat", body=body, stream=False, wants_usage=False, edits={}, tokens_in=len(body), tokens_out=9))


def said(role: str, text: str) -> dict[str, object]:
    return {"role": role, "content": text}


def test_the_turns_of_a_conversation_have_one_key_and_two_conversations_have_two() -> None:
    first = [said("system", "Be brief."), said("user", "What is a biopsy?")]
    again = [*first, said("assistant", "A sample."), said("user", "Of what?")]
    assert seen(first).conversation == seen(again).conversation
    assert seen(first).conversation != seen([first[0], said("user", "What is a scan?")]).conversation
    assert seen(first, prompt_cache_key="k").conversation == seen(again[2:], prompt_cache_key="k").conversation


def test_a_longer_prompt_begins_with_the_prefixes_of_the_shorter() -> None:
    long = said("user", "x" * (3 * BLOCK))
    short, longer = seen([long]), seen([long, said("assistant", "y" * BLOCK), said("user", "z" * BLOCK)])
    shared = len(short.prefixes) - 1  # the last block of the shorter ends with its closing bracket
    assert shared >= 2
    assert longer.prefixes[:shared] == short.prefixes[:shared]
    assert len(seen([said("user", "x" * (2 * MOST_BLOCKS * BLOCK))]).prefixes) == MOST_BLOCKS


def test_what_was_sent_is_warm_for_five_minutes_and_trusted_as_far_as_it_was_true() -> None:
    warm, prefixes = Warm(), seen([said("user", "x" * (2 * BLOCK))]).prefixes
    whole = len(prefixes) * BLOCK // BYTES_A_TOKEN
    assert warm.tokens("p/a", prefixes, 0) == 0
    warm.note("p/a", prefixes, 0, 0)
    assert warm.tokens("p/a", prefixes, KEPT - 1) == int(whole * TRUST)
    assert warm.tokens("p/b", prefixes, KEPT - 1) == 0
    assert warm.tokens("p/a", prefixes, KEPT) == 0
    for now in range(60):
        warm.note("p/a", prefixes, 0, now)
    assert warm.tokens("p/a", prefixes, 60) < whole / 100  # it caches nothing
    for now in range(60, 160):
        warm.note("p/a", prefixes, whole, now)
    assert warm.tokens("p/a", prefixes, 160) > whole * 0.99


def test_the_memory_is_bounded() -> None:
    warm = Warm()
    for number in range(MOST + 10):
        warm.note("p/a", (msgspec.json.encode(number),), 0, 0)
    assert len(warm._sent) == MOST


@given(st.binary(min_size=1, max_size=64))
def test_a_conversation_goes_to_the_same_target_whatever_the_order(key: bytes) -> None:
    assert settled([A, B], key) == settled([B, A], key)
    assert 0 < draw(key, "x") < 1


def test_conversations_are_shared_by_weight_and_only_those_of_a_target_that_goes_move() -> None:
    keys = [number.to_bytes(4) for number in range(4000)]
    c = Target(target="p/c", weight=2)
    first = {key: settled([A, B, c], key)[0].target for key in keys}
    shares = Counter(first.values())
    assert abs(shares["p/a"] / 4000 - 3 / 6) < 0.03
    assert abs(shares["p/b"] / 4000 - 1 / 6) < 0.03
    after = {key: settled([A, c], key)[0].target for key in keys}
    assert all(after[key] == first[key] for key in keys if first[key] != "p/b")


def test_a_size_is_guessed_without_the_bytes_of_pictures() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    with_it = seen([{"role": "user", "content": [{"type": "text", "text": "Look."}, picture]}])
    assert with_it.images == 1
    assert 1000 <= with_it.tokens < 1200
    assert seen([said("user", 'I write {"type": "image"} in my text')]).images == 0


def test_what_a_request_asks_for_is_found_on_every_wire() -> None:
    assert seen([], response_format={"type": "json_schema"}).json
    assert seen([], output_config={"format": {"type": "json_schema"}}).json
    assert seen([], text={"format": {"type": "json_object"}}).json
    assert not seen([], text={"format": {"type": "text"}}).json
    assert seen([], tools=[{"name": "f"}]).tools
    assert not seen([], tools=[]).tools
    found = seen([], metadata={"tier": "gold", "n": 3, "deep": {"x": 1}})
    assert (found.find("metadata.tier"), found.find("metadata.n"), found.find("metadata.deep")) == ("gold", 3, None)
    assert seen([], metadata="x").find("metadata.tier") is None
