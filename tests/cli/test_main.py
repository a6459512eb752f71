"""The table, help, errors, exit codes, and what a shell expects of a command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from tandem.cli.fail import report
from tandem.cli.main import SECTIONS, cli
from tandem.cli.reference import reference
from tandem.core import errors as core
from tandem_sdk import errors as sdk
from tandem_sdk.fake import Canned, FakePlatform

ELSEWHERE = {"up", "demo", "mock", "door", "control", "serve", "work"}
"""Commands of other packages; they print what they say while they run."""
ROOT = Path(__file__).parents[2]


def leaves() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for rows in SECTIONS.values():
        for name in rows:
            command = cli.get_command(context, name)
            assert command is not None
            yield from within(name, command)


def within(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for child, found in command.commands.items():
            yield from within(f"{name} {child}", found)
    else:
        yield name, command


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tandem.cli.main import main; main(['--help']); "
        "heavy = {name.partition('.')[0] for name in sys.modules} & "
        "{'httpx2', 'rich', 'tandem_sdk', 'msgspec', 'sqlalchemy', 'fastapi', 'polars', 'numpy', 'dbos', 'jinja2', 'asyncio'}; "
        "light = {'tandem.cli', 'tandem.cli.main', 'tandem.cli.lazy'}; "
        "ours = {name for name in sys.modules if name.startswith('tandem.')} - light; "
        "sys.exit(str(heavy | ours) if heavy | ours else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Train a model on a dataset." in done.stdout


def test_every_row_of_the_table_is_there() -> None:
    found = dict(leaves())
    for name in ("data add", "train", "promote", "key create", "budget set", "trace show", "audit verify", "decide", "doctor"):
        assert name in found
    hidden = {name for name, command in found.items() if command.hidden}
    assert hidden == {"door", "control"}


def test_every_command_has_help_and_takes_json() -> None:
    for name, command in leaves():
        if name in ELSEWHERE:
            continue
        assert command.help, name
        assert any("--json" in parameter.opts for parameter in command.params), name
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not isinstance(parameter.type, click.Choice | click.types.FloatParamType):
                assert parameter.help, f"{name} {parameter.name}"


def test_the_reference_page_is_what_the_commands_say() -> None:
    page = ROOT / "docs" / "cli.md"
    assert page.read_text("utf-8") == reference(), "python -m tandem.cli.reference > docs/cli.md"


def test_no_command_shows_help(tandem) -> None:
    done = tandem()
    assert (done.code, done.out) == (2, "")
    assert "Usage: tandem" in done.err


def test_version(tandem) -> None:
    assert tandem("--version").out.startswith("tandem 0.")
    assert tandem("version").out.startswith("tandem 0.")
    assert set(tandem("version", "--json").json()) == {"version", "python"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["traim"], "There is no command 'traim'. Did you mean 'train'?"),
        (["qqq"], "There is no command 'qqq'."),
        (["train", "x"], "Missing option '--data'."),
        (["key", "create", "--name", "n", "--expires", "soon"], "'soon' is no span of time; write it like 90m, 12h, 30d or 2w."),
        (["predict", "m", "--input", "{"], "--input is not JSON"),
        (["predict", "m", "--input", "7"], "Give a JSON object, or a list of them."),
        (["decide", "m", "--input", "[]"], "Give a JSON object."),
        (["decide", "m", "--input", "@/nowhere/x"], "'/nowhere/x' cannot be read: No such file or directory."),
        (["endpoint", "set", "e", "--kind", "chat", "--target", "a/b,speed=3"], "'speed=3' is no option of a target"),
        (
            ["train", "x", "--data", "d", "--target", "t", "--param", "depth"],
            "'depth' is no assignment; write it like NAME=VALUE.",
        ),
        (["data", "contract", "d", "--edit", "a", "--out", "b"], "--edit and --out exclude each other."),
        (["prompt", "add", "p", __file__, "--var", ":string"], "':string' declares no variable"),
    ],
)
@pytest.mark.usefixtures("platform")
def test_wrong_usage(tandem, words: list[str], message: str) -> None:
    done = tandem(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"tandem: {message}")
    assert "--help` shows how it is used." in done.err
    told = tandem(*words, "--json")
    assert told.code == 2
    assert told.json()["error"]["code"] == "usage"
    assert told.json()["error"]["message"].startswith(message)


def test_nothing_answers(tandem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_URL", "http://127.0.0.1:1")
    done = tandem("run", "list")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "tandem: Nothing answers at http://127.0.0.1:1.\n  → `tandem up` starts the platform; TANDEM_URL names another address.\n"
    )
    assert tandem("run", "list", "--json").json()["error"]["code"] == "not_running"


def test_an_error_is_a_line_a_hint_and_a_trace(tandem, platform: FakePlatform) -> None:
    body = {"error": "No \x1b[31mroom.", "code": "over_budget", "hint": "Raise the cap.", "field": None}
    platform.on("POST", "/v1/decide/x", Canned(status=429, body=body, headers={"x-tandem-trace-id": "trc_1"}))
    done = tandem("decide", "x", "--input", "{}")
    assert done.code == 1
    assert done.err == "tandem: No ?[31mroom.\n  → Raise the cap.\n  → `tandem trace show trc_1` explains the call.\n"
    error = tandem("decide", "x", "--input", "{}", "--json").json()["error"]
    assert (error["code"], error["trace"], error["hint"]) == ("over_budget", "trc_1", "Raise the cap.")


def test_an_unknown_key_says_how_to_get_one_known(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/whoami", Canned(status=401, body={"error": {"code": "unauthenticated", "message": "Who?"}}))
    assert "`tandem login` keeps a key" in tandem("whoami").err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (sdk.NotFound("x"), 1),
        (sdk.GateRefused("x"), 4),
        (sdk.Blocked("x", code="no_evidence"), 4),
        (sdk.Invalid("x"), 1),
        (core.Invalid("x"), 2),
        (core.Conflict("x"), 1),
        (core.Conflict("x", code="already_running"), 3),
        (click.ClickException("x"), 1),
        (click.UsageError("x"), 2),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_exit_codes(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(error, as_json=True) == code
    assert "tandem: " in capsys.readouterr().err


def test_a_bug_is_one_clear_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TANDEM_DEBUG", raising=False)
    report(ZeroDivisionError("by zero"), as_json=False)
    err = capsys.readouterr().err
    assert err.startswith("tandem: ZeroDivisionError: by zero\n  → This is a fault of Tandem's. TANDEM_DEBUG=1 shows where.")
    assert "Traceback" not in err
    monkeypatch.setenv("TANDEM_DEBUG", "1")
    report(ZeroDivisionError("by zero"), as_json=False)
    assert "ZeroDivisionError" in capsys.readouterr().err


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tandem", *words]


def test_ctrl_c_stops_the_waiting_and_not_the_run(platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/runs/run_1", {"id": "run_1", "state": "running", "progress": 0.5})
    child = subprocess.Popen(command("run", "wait", "run_1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not platform.asked and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert out == ""
    assert err.strip() == "run_1 goes on; `tandem run wait run_1` waits again, `tandem run cancel run_1` stops it."


def test_a_reader_that_has_seen_enough_is_no_error(platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/runs", [{"id": f"run_{number}"} for number in range(20_000)])
    child = subprocess.Popen(command("run", "list"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().startswith("RUN")
    child.stdout.close()
    assert child.stderr is not None
    assert child.stderr.read() == ""
    child.stderr.close()
    assert child.wait(timeout=20) == 1


def test_an_output_without_unicode_gets_plain_json(platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/whoami", {"name": "Zoë"})
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command("whoami", "--json"), capture_output=True, env=environment, check=True)
    assert b"Zo\\u00eb" in done.stdout


def test_completion_offers_commands_without_importing_them() -> None:
    complete = ShellComplete(cli, {}, "tandem", "_TANDEM_COMPLETE")
    items = complete.get_completions([], "pro")
    assert [(item.value, item.help) for item in items] == [
        ("prompt", "Prompts: add, show."),
        ("project", "Projects: what repositories declare. List, show, ci."),
        ("promote", "Move an alias to a version, if its gate lets it."),
        ("provider", "Providers of language models: list, set, drop, test."),
    ]
    assert [item.value for item in complete.get_completions(["key"], "")] == ["create", "list", "revoke", "rotate"]
