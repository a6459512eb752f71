"""What is shipped to run Tandem elsewhere: the units and the image say what the product does."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from tandem.cli.main import cli

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted([*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")])


def unit(name: str) -> configparser.ConfigParser:
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment,method-assign]  # names are told apart by their case
    read.read(DEPLOY / name)
    return read


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments of every line of the image, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


@pytest.mark.parametrize("name", [path.name for path in UNITS])
def test_a_unit_runs_a_command_that_there_is(name: str) -> None:
    read = unit(name)
    assert read["Unit"]["Description"]
    if not name.endswith(".service"):
        return
    program, *words = read["Service"]["ExecStart"].split()
    assert program == "/opt/tandem/bin/tandem"
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None
    command.make_context(words[0], words[1:])
    assert read["Service"]["User"] == "tandem"


def test_the_service_stops_and_renews_as_the_product_does() -> None:
    service = unit("tandem.service")["Service"]
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert int(service["TimeoutStopSec"]) > 20  # drain_seconds and the mover's rest
    assert service["RestartPreventExitStatus"].split() == ["2", "3"]
    assert service["Restart"] == "on-failure"
    assert service["StateDirectoryMode"] == "0700"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_a_unit(path: Path) -> None:
    assert unit(path.name)["Unit"]["Description"]
    if shutil.which("systemd-analyze") is None:  # there is nobody to ask
        return
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    faults = [line for line in done.stderr.splitlines() if path.name in line and "is not executable" not in line]
    assert faults == []


def test_the_image_runs_as_nobody_special_and_fetches_nothing() -> None:
    told = instructions()
    stages = [index for index, (word, _) in enumerate(told) if word == "FROM"]
    assert len(stages) == 2
    last = told[stages[-1] :]
    assert ("USER", "tandem") in last
    after = last[last.index(("USER", "tandem")) :]
    assert not [word for word, _ in after if word in ("RUN", "COPY", "ADD")]
    assert not [text for word, text in last if word == "RUN" and re.search(r"pip|apt|curl|wget", text)]
    assert ("CMD", '["up"]') in last
    assert ("ENTRYPOINT", '["tandem"]') in last


def test_what_the_image_copies_is_there_and_let_in() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, text in instructions():
        if word == "COPY" and not text.startswith("--from"):
            for source in text.split()[:-1]:
                assert (ROOT / source).exists()
                assert source in allowed


def test_its_health_is_asked_of_an_address_that_there_is() -> None:
    (check,) = [text for word, text in instructions() if word == "HEALTHCHECK"]
    program = json.loads(check[check.index("[") :])
    compile(program[2], "healthcheck", "exec")
    assert "/health/ready" in program[2]
    environment = " ".join(text for word, text in instructions() if word == "ENV")
    assert "TANDEM_SERVER__HOST=0.0.0.0" in environment
