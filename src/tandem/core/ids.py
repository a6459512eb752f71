"""Typed, prefixed, time-ordered identifiers: `trc_06…`, `run_06…`.

After the prefix stand 26 characters of Crockford base 32: ten for the UTC milliseconds, sixteen for 80
random bits, as in the ULID specification, so ids sort by age.
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
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_LETTERS = bytes(ord(_ALPHABET[value & 31]) for value in range(256))
"""Any byte → the letter of its lower five bits."""


def new_id(prefix: str) -> str:
    """A fresh id such as `trc_01k…`; unique across processes without coordination."""
    ms = time.time_ns() // 1_000_000
    pairs = _PAIRS
    when = f"{pairs[ms >> 40 & 1023]}{pairs[ms >> 30 & 1023]}{pairs[ms >> 20 & 1023]}{pairs[ms >> 10 & 1023]}{pairs[ms & 1023]}"
    return f"{prefix}_{when}{os.urandom(16).translate(_LETTERS).decode()}"


def new_trace() -> TraceId:
    return TraceId(new_id("trc"))


def new_call() -> CallId:
    return CallId(new_id("cal"))


def new_run() -> RunId:
    return RunId(new_id("run"))
