"""AWS's event stream: botocore decodes what the mock writes, we decode what both write, however it was cut, and no bad byte."""

from __future__ import annotations

from struct import pack
from typing import Any
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Upstream
from tandem.gateway.eventstream import EventStream, Message, Messages
from tandem.gateway.framing import FRAMINGS, media
from tandem.mock.eventstream import event, exception, message

HEADERS = st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=40), max_size=4)
SENT = st.lists(st.tuples(HEADERS, st.binary(max_size=200)), max_size=5)
EVENTS = event("messageStart", b'{"role":"assistant"}') + event("contentBlockDelta", b'{"delta":{"text":"h\xc3\xa9"}}')
EVENTS += exception("throttlingException", b'{"message":"slow down"}')


def typed(headers: list[tuple[bytes, int, bytes]], payload: bytes = b"") -> bytes:
    """A message with headers of any type, as the specification writes them."""
    rows = b"".join(pack("!B", len(name)) + name + pack("!B", kind) + value for name, kind, value in headers)
    start = pack("!II", 16 + len(rows) + len(payload), len(rows))
    body = start + pack("!I", crc32(start)) + rows + payload
    return body + pack("!I", crc32(body))


@given(SENT)
def test_botocore_decodes_what_the_mock_writes_and_so_do_we(sent: list[tuple[dict[str, str], bytes]]) -> None:
    stream = b"".join(message(headers, payload) for headers, payload in sent)
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    assert [(each.headers, each.payload) for each in buffer] == sent
    assert [(each.headers, each.payload) for each in Messages().feed(stream)] == sent


@given(SENT, st.data())
def test_how_the_bytes_were_cut_does_not_matter(sent: list[tuple[dict[str, str], bytes]], data: st.DataObject) -> None:
    stream = b"".join(message(headers, payload) for headers, payload in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    messages = Messages()
    found: list[Message] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += messages.feed(stream[start:end])
    assert [(each.headers, each.payload) for each in found] == sent


def test_byte_by_byte_each_message_comes_with_its_last_byte() -> None:
    messages, borders = Messages(), []
    for at, byte in enumerate(EVENTS, 1):
        borders += [at] * len(messages.feed(bytes([byte])))
    assert borders[-1] == len(EVENTS)
    assert len(borders) == 3


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_every_flipped_bit_is_found(bit: int) -> None:
    """Also one that makes a message longer: no message of what follows may come of it."""
    whole = EventStream().feed(EVENTS)
    for at in range(len(EVENTS)):
        broken = EVENTS[:at] + bytes([EVENTS[at] ^ bit]) + EVENTS[at + 1 :]
        stream = EventStream()
        found = stream.feed(broken[:at])
        assert found == whole[: len(found)]
        with pytest.raises(Upstream) as caught:
            stream.feed(broken[at:])
        assert caught.value.code == "malformed_stream"


def test_headers_of_every_type_are_read_over() -> None:
    headers = [
        (b"yes", 0, b""), (b"no", 1, b""), (b"byte", 2, b"\x01"), (b"short", 3, b"\0\1"), (b"int", 4, b"\0\0\0\1"),
        (b"long", 5, bytes(8)), (b"bytes", 6, b"\0\3abc"), (b"time", 8, bytes(8)), (b"uuid", 9, bytes(16)),
        (b":message-type", 7, b"\0\5event"), (b":event-type", 7, b"\0\1e"),
    ]  # fmt: skip
    stream = typed(headers, b'{"a":1}')
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    assert len(next(buffer).headers) == len(headers)
    assert EventStream().feed(stream) == [b'{"e":{"a":1}}']


def test_an_event_is_named_and_an_error_is_none() -> None:
    assert EventStream().feed(EVENTS) == [
        b'{"messageStart":{"role":"assistant"}}',
        b'{"contentBlockDelta":{"delta":{"text":"h\xc3\xa9"}}}',
        b'{"exception":{"type":"throttlingException","told":{"message":"slow down"}}}',
    ]
    failed = {":message-type": "error", ":error-code": "InternalError", ":error-message": 'a "bad" day'}
    assert EventStream().feed(message(failed, b"")) == [
        b'{"exception":{"type":"InternalError","told":{"message":"a \\"bad\\" day"}}}'
    ]
    assert EventStream().feed(event("ping", b"")) == [b'{"ping":{}}']


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (message({":message-type": "event"}, b"{}"), "without a name"),
        (message({":message-type": "letter"}, b"{}"), "no known type"),
        (message({}, b"{}"), "no known type"),
        (typed([(b"a", 10, b"")]), "headers cannot be read"),
        (typed([(b"a", 7, b"\0\x09abc")]), "headers cannot be read"),
        (typed([(b"a", 7, b"\0")]), "headers cannot be read"),
        (typed([(b"a", 7, b"\0\1\xff")]), "headers cannot be read"),
        (typed([(b"a", 4, b"\0")]), "headers cannot be read"),
    ],
)
def test_what_is_no_event_is_refused(stream: bytes, said: str) -> None:
    with pytest.raises(Upstream, match=said) as caught:
        EventStream().feed(stream)
    assert caught.value.code == "malformed_stream"


def head(whole: int, headers: int) -> bytes:
    start = pack("!II", whole, headers)
    return start + pack("!I", crc32(start))


@pytest.mark.parametrize(
    ("start", "said"),
    [(head(5 * 2**20, 0), "more than 4194304 bytes"), (head(2**32 - 1, 0), "more than"), (head(300_000, 200_000), "more than"),
     (head(15, 0), "shorter than"), (head(40, 30), "shorter than"), (head(0, 0), "shorter than")],
)  # fmt: skip
def test_a_size_that_cannot_be_is_refused_at_the_head(start: bytes, said: str) -> None:
    """Nothing is waited for, and nothing kept."""
    with pytest.raises(Upstream, match=said):
        Messages().feed(start)


def test_what_is_kept_is_one_message_and_one_read() -> None:
    messages = Messages(limit=1000)
    assert messages.feed(message({}, bytes(984)) * 50 + bytes(0))[-1].payload == bytes(984)
    with pytest.raises(Upstream):
        messages.feed(message({}, bytes(985)))


def test_the_type_of_the_content_says_how_a_stream_is_cut() -> None:
    made: dict[str, Any] = {
        header: FRAMINGS[media(header)]() for header in ("text/event-stream;charset=UTF-8", "Text/Event-Stream")
    }
    assert all(each.feed(b"data: 1\n\nda") == [b"1"] for each in made.values())
    assert FRAMINGS[media("application/vnd.amazon.eventstream")]().feed(EVENTS[:-1]) == EventStream().feed(EVENTS)[:2]
    assert media("application/json") not in FRAMINGS
    assert media(None) not in FRAMINGS
