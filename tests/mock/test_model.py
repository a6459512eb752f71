"""What the model says: deterministic, exact in length, and made of what the prompt holds."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.mock import tokens
from tandem.mock.facts import facts, nearest
from tandem.mock.model import Answer, Ask, Orders, Tool, Turn, answer, orders

WEATHER = Tool(
    name="get_weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)
TIME = Tool(name="get_time", parameters={"type": "object", "properties": {"zone": {"enum": ["UTC"]}}, "required": ["zone"]})


def ask(*said: str, **changes: object) -> Ask:
    """A request whose messages alternate between system and user, the last one from the user."""
    turns = [Turn(role="user" if (len(said) - at) % 2 else "system", text=text) for at, text in enumerate(said)]
    return replace(Ask(model="gpt-4o", turns=turns, prompt_tokens=9), **changes)  # type: ignore[arg-type]


def text(made: Answer) -> str:
    return "".join(made.pieces)


def test_the_answer_restates_the_facts() -> None:
    said = text(answer(ask("Explain this case:\namount: 120.50\nrisk score: 0.93\ncountry: FR"), Orders(), 0))
    assert "amount is 120.50, risk score is 0.93 and country is FR" in said
    assert "look at first is risk score (0.93)" in said
    assert "mock" in said.lower()


def test_the_answer_quotes_the_text_nearest_to_the_question() -> None:
    context = "Shipping takes two days. The refund period is thirty days. We are closed on Sunday."
    assert '"The refund period is thirty days."' in text(answer(ask(context, "How long is the refund period?"), Orders(), 0))
    assert '"The refund period is thirty days."' in text(answer(ask(f"{context}\n\nHow long is the refund period?"), Orders(), 0))


def test_without_facts_it_repeats_the_question() -> None:
    assert 'You asked: "Hello there"' in text(answer(ask("Hello there"), Orders(), 0))
    assert "no question" in text(answer(Ask(model="m", turns=[], prompt_tokens=3), Orders(), 0))


def test_it_is_deterministic_by_model_messages_and_seed() -> None:
    seen = {text(answer(ask("Hi", seed=seed), Orders(), 0)) for seed in range(12)}
    assert 1 < len(seen) <= 3
    assert all(text(answer(ask("Hi", seed=5), Orders(), 0)) == text(answer(ask("Hi", seed=5), Orders(), 0)) for _ in range(3))
    assert len({text(answer(ask("Hi"), Orders(), index)) for index in range(12)}) > 1


@given(st.integers(0, 400), st.none() | st.integers(1, 300), st.sampled_from(["Hi", "a: 1\nb: 2", ""]))
def test_the_ordered_number_of_tokens_and_the_limit_are_exact(wanted: int, limit: int | None, said: str) -> None:
    made = answer(ask(said, limit=limit), Orders(tokens=wanted), 0)
    cut = limit is not None and limit < wanted
    assert made.tokens == len(made.pieces) == (limit if cut else wanted)
    assert made.finish == ("length" if cut else "stop")
    assert tokens.count(text(made)) == made.tokens


def test_stop_ends_before_the_word_and_counts_what_is_left() -> None:
    made = answer(ask("x", stop=("STOP", "end")), Orders(reply="one two end three STOP"), 0)
    assert (text(made), made.tokens, made.finish) == ("one two ", tokens.count("one two "), "stop")
    cut = answer(ask("x", stop=("end",), limit=2), Orders(reply="one two end"), 0)
    assert (text(cut), cut.finish) == ("one ", "length")


def called(made: Answer) -> dict[str, object]:
    return {call.name: msgspec.json.decode("".join(call.pieces)) for call in made.calls}


def test_tools_are_called_by_choice_and_by_name() -> None:
    both = ask("Use get_weather and get_time.\ncity: Lyon", tools=[WEATHER, TIME])
    assert called(answer(both, Orders(), 0)) == {"get_weather": {"city": "Lyon"}, "get_time": {"zone": "UTC"}}
    assert called(answer(replace(both, parallel=False), Orders(), 0)).keys() == {"get_weather"}
    assert called(answer(replace(both, choice="=get_time"), Orders(), 0)).keys() == {"get_time"}
    assert called(answer(replace(both, choice="none"), Orders(), 0)) == {}
    assert called(answer(ask("forget_weather", tools=[WEATHER]), Orders(), 0)) == {}
    quiet = ask("Hello", tools=[WEATHER, TIME])
    assert called(answer(quiet, Orders(), 0)) == {}
    assert called(answer(replace(quiet, choice="required"), Orders(), 0)).keys() == {"get_weather"}
    assert called(answer(quiet, Orders(tools=("get_time", "nobody")), 0)) == {"get_time": {"zone": "UTC"}, "nobody": {}}


def test_after_a_tool_has_answered_the_model_speaks() -> None:
    first = ask("Use get_weather", tools=[WEATHER])
    later = replace(first, turns=[*first.turns, Turn(role="assistant", text=""), Turn(role="tool", text="temperature: 21")])
    made = answer(later, Orders(), 0)
    assert not made.calls
    assert "temperature is 21" in text(made)


@given(st.integers(1, 40))
def test_tool_calls_keep_to_the_limit(limit: int) -> None:
    whole = answer(ask("Use get_weather and get_time", tools=[WEATHER, TIME]), Orders(), 0)
    made = answer(ask("Use get_weather and get_time", tools=[WEATHER, TIME], limit=limit), Orders(), 0)
    assert whole.tokens == sum(1 + len(call.pieces) for call in whole.calls)
    assert made.tokens == min(limit, whole.tokens) == sum(1 + len(call.pieces) for call in made.calls)
    assert made.finish == ("length" if limit < whole.tokens else "tool_calls")


def test_structured_answers() -> None:
    schema = {
        "type": "object",
        "properties": {"amount": {"type": "number"}, "reason": {"type": "string"}},
        "required": ["amount"],
    }
    made = msgspec.json.decode(text(answer(ask("amount: 12.5", schema=schema), Orders(), 0)))
    assert made["amount"] == 12.5
    assert "amount is 12.5" in made["reason"]
    assert msgspec.json.decode(text(answer(ask("amount: 12.5", schema={}), Orders(), 0)))["amount"] == "12.5"


def test_orders_come_from_the_text_or_from_headers() -> None:
    told = orders("Please.\nx-mock-tokens: 12\n X-Mock-Cached: 3\nx-mock-fault: cut\nx-mock-fault: drip=1", {})
    assert (told.tokens, told.cached, told.fault) == (12, 3, ("cut", "drip=1"))
    assert orders("x-mock-tokens: 12", {"tokens": "7"}).tokens == 7
    assert orders("", {"reply": '"two\\nlines"'}).reply == "two\nlines"
    assert orders("", {"fault": "drip=1, cut"}).fault == ("drip=1", "cut")
    assert orders("", {"tools": "a, b,"}).tools == ("a", "b")
    assert orders("Nothing here", {}) == Orders()


def test_an_order_is_no_part_of_the_question() -> None:
    assert 'You asked: "Hello"' in text(answer(ask("x-mock-cached: 3\nHello"), Orders(cached=3), 0))


@pytest.mark.parametrize(
    "line", ["x-mock-tokens: many", "x-mock-tokens: 200001", "x-mock-cached: -1", "x-mock-answer: hi", 'x-mock-reply: "open']
)
def test_orders_that_cannot_be_read_are_refused(line: str) -> None:
    with pytest.raises(Invalid):
        orders(line, {})


def test_facts() -> None:
    assert facts("Why was it refused?\nQuestion: why?\nsee http://example.com\n") == {}
    assert facts("* Order total = 12 EUR,\n{'x': 1}") == {"Order total": "12 EUR"}
    assert facts('{"amount": 12.5, "card": {"country": "FR"}, "ok": true}') == {"amount": "12.5", "country": "FR", "ok": "true"}
    assert facts("a: 1\na: 2") == {"a": "1"}
    assert nearest("What about refunds?", "Nothing in common here.") == ""
