"""What was said, in whichever wire it was said."""

from __future__ import annotations

import json

from tandem.observability.dialogue import Turn, answered, asked, question, said

CALL = {"type": "tool_use", "name": "find", "input": {"q": 1}}
REQUEST = json.dumps(
    {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": "How much?"},
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "I look."}, {"type": "tool_use", "name": "find", "input": {"q": 1}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "12 euros"}]}]},
        ],
    }
)


def test_messages_of_anthropics_wire_are_turns() -> None:
    assert asked(REQUEST) == (
        Turn(role="system", text="Be brief."),
        Turn(role="user", text="How much?"),
        Turn(role="assistant", text='I look.\ncalls find({"q":1})'),
        Turn(role="user", text="12 euros"),
    )
    assert question(REQUEST) == "12 euros"


def test_an_answer_of_anthropics_wire_is_read_whole_and_streamed() -> None:
    whole = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "12 euros."}, {"type": "tool_use", "name": "f"}],
    }
    assert answered(json.dumps(whole)) == (Turn(role="assistant", text="12 euros.\ncalls f(null)"),)
    events = [
        {"type": "message_start", "message": {}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "12 "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "euros."}},
        {"type": "message_stop"},
    ]
    stream = "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events)
    assert said(stream) == "12 euros."


def test_what_is_no_conversation_has_no_turns() -> None:
    for text in ("", "[]", "null", "{}", '{"messages": 3}', "data: x", "event: y", '{"type": "message"}'):
        assert asked(text) == ()
        assert said(text) == ""
