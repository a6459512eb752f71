"""Rules of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

SLOW = (
    "tests/console/test_pages.py",
    "tests/data/test_tasks.py",
    "tests/decisions/",
    "tests/docs/test_examples.py",
    "tests/evaluation/test_compare.py",
    "tests/gateway/test_http1",
    "tests/gateway/test_transport.py",
    "tests/jobs/",
    "tests/monitoring/test_watch.py",
    "tests/registry/",
    "tests/scorers/test_values.py",
    "tests/serving/test_runtimes.py",
    "tests/serving/test_target.py",
    "tests/store/",
    "tests/training/",
)
UNIT = "not journey and not browser and not slow"
"""What `make unit` asks for: then files that are slow as a whole are not even imported."""
IN_CI = os.environ.get("CI") == "true"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out of the unit part what would be imported for nothing."""
    if config.getoption("markexpr") != UNIT or collection_path.suffix != ".py":
        return None
    place = collection_path.relative_to(config.rootpath).as_posix()
    return True if place.startswith((*SLOW, "tests/journeys/")) and not place.endswith("conftest.py") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as slow what starts processes or simulates at length, so that `make unit` stays under a minute."""
    for item in items:
        place = item.nodeid.partition("::")[0]
        if place.startswith(SLOW):
            item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """In CI a skipped test is a failed one: everything the suite needs was installed for it."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """The same for a module that skips itself."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
    return report
