"""Typed, prefixed, time-ordered identifiers: `trc_06…`, `run_06…`.

After the prefix stand 26 characters of Crockford base 32: 48 bits of UTC milliseconds and 80 random
bits, as in the ULID specification, so ids sort by age.
"""

from __future__ import annotations

import os
import time
from typing import NewType

TraceId = NewType("TraceId", str)
CallId = NewType("CallId", str)
SpanId = NewType("SpanId", str)
RunId = NewType("RunId", str)
KeyId = NewType("KeyId", str)
ScoreId = NewType("ScoreId", str)
LeaseId = NewType("LeaseId", str)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def new_id(prefix: str) -> str:
    """A fresh id such as `trc_01k…`; unique across processes without coordination."""
    value = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10))
    pairs = _PAIRS
    text = "".join([pairs[(value >> shift) & 1023] for shift in range(120, -1, -10)])
    return f"{prefix}_{text}"


def new_trace() -> TraceId:
    return TraceId(new_id("trc"))


def new_call() -> CallId:
    return CallId(new_id("cal"))


def new_run() -> RunId:
    return RunId(new_id("run"))
