"""What the platform costs a machine: memory of an idle base, and what its installation brings along."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.journeys.conftest import ADMIN, Platform, platform

MB = 1_000_000
IDLE_BYTES = 200 * MB
"""Proportional share (PSS) of all processes of a fresh platform with one worker."""
DOOR_BYTES = 60 * MB
"""Resident pages of one door worker at its start."""
PACKAGES = 65
INSTALLED_BYTES = 520 * MB

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("house")) as running:
        yield running


def memory(pid: int, kind: str) -> int:
    """Bytes of a process, by `Rss` or `Pss`."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == kind:
            return int(value.split()[0]) * 1024
    raise AssertionError(f"{pid} has no {kind}")


def processes(house: Platform) -> list[int]:
    """Everything that was started on this home, the supervisor first."""
    assert house.process is not None
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [house.process.pid]
    for pid in found:
        found += children.get(pid, [])
    return found


@linux
@pytest.mark.journey
@pytest.mark.alone
def test_an_idle_platform_is_small(house: Platform) -> None:
    time.sleep(1.0)  # what the start left behind is given back or not
    pids = processes(house)
    assert set(house.pids("door") + house.pids("control")) <= set(pids)
    shares = {pid: memory(pid, "Pss") for pid in pids}
    assert len(shares) == 3, "a supervisor, a door, control: nothing else was asked for"
    assert sum(shares.values()) <= IDLE_BYTES, shares


@linux
@pytest.mark.journey
@pytest.mark.alone
def test_a_door_worker_is_small(house: Platform) -> None:
    (door,) = house.pids("door")
    assert memory(door, "Rss") <= DOOR_BYTES
    for _ in range(200):
        assert house.chat(ADMIN).status_code == 200
    assert memory(door, "Rss") <= DOOR_BYTES * 1.1


def needed(name: str) -> dict[str, Distribution]:
    """A distribution and everything it requires, without extras that nobody asked for."""
    found: dict[str, Distribution] = {}
    asked: list[tuple[str, frozenset[str]]] = [(name, frozenset())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while asked:
        one = asked.pop()
        if one in seen:
            continue
        seen.add(one)
        held = found[canonicalize_name(one[0])] = distribution(one[0])
        for text in held.requires or ():
            requirement = Requirement(text)
            extras = one[1] or {""}
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
                asked.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return found


def size(held: Distribution) -> int:
    """Bytes of a distribution's files as they lie on the disk, without compiled Python."""
    paths = (Path(str(file.locate())) for file in held.files or () if file.suffix != ".pyc")
    return sum(path.stat().st_size for path in paths if path.is_file())


def test_the_base_brings_few_packages_and_little_weight() -> None:
    found = needed("tandem-ai")
    assert {"sqlalchemy", "fastapi", "uvloop", "dbos"} <= set(found)
    assert not {"numpy", "polars", "scikit-learn", "onnxruntime", "deltalake"} & set(found), "the base is without [ml]"
    sizes = {name: size(held) for name, held in found.items()}
    assert len(sizes) <= PACKAGES, sorted(sizes)
    assert sum(sizes.values()) <= INSTALLED_BYTES, sorted(sizes.items(), key=lambda row: -row[1])[:10]
    assert min(size(held) for name, held in found.items() if name != "tandem-ai") > 0, "every package says what it holds"


def test_every_requirement_of_the_base_is_installed() -> None:
    for text in distribution("tandem-ai").requires or ():
        requirement = Requirement(text)
        if requirement.marker is None:
            assert requirement.specifier.contains(distribution(requirement.name).version, prereleases=True), text
