"""The command as a process, and its words."""

from __future__ import annotations

import signal
import subprocess
import sys

import httpx2
import msgspec
import pytest
from click.testing import CliRunner

from tandem.mock.command import mock
from tandem.mock.faults import KINDS, OPTIONS

START = [sys.executable, "-c", "from tandem.mock.command import mock; mock()", "--port", "0"]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_first_line_tells_where_and_a_signal_stops_it(stop: signal.Signals) -> None:
    process = subprocess.Popen(
        [*START, "--json", "--key", "k1", "--fault", "429*1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = msgspec.json.decode(process.stdout.readline())
        assert line["base_url"] == f"http://127.0.0.1:{line['port']}/v1"
        assert (line["pid"], line["faults"]) == (process.pid, ["429*1"])
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
        with httpx2.Client(base_url=line["base_url"], headers={"authorization": "Bearer k1"}) as client:
            assert [client.post("/chat/completions", json=body).status_code for _ in range(2)] == [429, 200]
            assert client.get("/models", headers={"authorization": "Bearer k2"}).status_code == 401
    finally:
        process.send_signal(stop)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_people_get_sentences() -> None:
    process = subprocess.Popen(START, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("The mock upstream listens on http://127.0.0.1:")
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_help_lists_every_fault_and_option() -> None:
    text = CliRunner().invoke(mock, ["--help"]).output
    for word in [*KINDS, *OPTIONS]:
        assert f"  {word}" in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--fault", "boom"], "there is no fault 'boom'"),
        (["--latency", "-1"], "latency_ms is -1.0"),
        (["--key", ""], "The key is empty"),
        (["--host", "256.0.0.1"], "cannot listen on 256.0.0.1"),
    ],
)
def test_wrong_words_are_explained(words: list[str], reason: str) -> None:
    result = CliRunner().invoke(mock, words)
    assert result.exit_code == 1
    assert reason in result.output
