"""Rules of the whole suite."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.network import network
from tests.postgres import postgres
from tests.ray_cluster import ray_cluster
from tests.redis_server import redis_server

__all__ = ["network", "postgres", "ray_cluster", "redis_server"]

SLOW = (
    "tests/architecture/",
    "tests/bench/test_routing.py",
    "tests/cli/test_init.py",
    "tests/console/test_pages.py",
    "tests/data/features/",
    "tests/data/test_append.py",
    "tests/data/test_corpus.py",
    "tests/data/test_deliver.py",
    "tests/data/test_long.py",
    "tests/data/test_pages.py",
    "tests/data/test_tasks.py",
    "tests/decisions/",
    "tests/docs/test_examples.py",
    "tests/durability/",
    "tests/evaluation/about/",
    "tests/evaluation/reviews/",
    "tests/evaluation/test_compare.py",
    "tests/evaluation/test_gate_tasks.py",
    "tests/evaluation/test_held.py",
    "tests/gateway/routing/test_plan.py",
    "tests/gateway/test_across.py",
    "tests/gateway/test_http1",
    "tests/gateway/test_known_failures.py",
    "tests/gateway/test_transport.py",
    "tests/governance/approvals/test_sequences.py",
    "tests/governance/bills/test_statement.py",
    "tests/governance/people/",
    "tests/jobs/",
    "tests/mock/test_anthropic_client.py",
    "tests/mock/test_bedrock_client.py",
    "tests/monitoring/online/",
    "tests/monitoring/test_harm.py",
    "tests/monitoring/test_hours.py",
    "tests/monitoring/test_judge.py",
    "tests/monitoring/test_labelled.py",
    "tests/monitoring/test_moved.py",
    "tests/monitoring/test_numbers.py",
    "tests/monitoring/test_performance.py",
    "tests/monitoring/test_tell.py",
    "tests/monitoring/test_watch.py",
    "tests/observability/",
    "tests/pipelines/",
    "tests/registry/",
    "tests/scorers/test_change.py",
    "tests/scorers/test_drift.py",
    "tests/scorers/test_sequential.py",
    "tests/scorers/test_unlabelled.py",
    "tests/scorers/test_values.py",
    "tests/serving/offline/",
    "tests/serving/test_runtimes.py",
    "tests/serving/test_target.py",
    "tests/store/",
    "tests/training/",
)
UNIT = "not journey and not browser and not slow"
"""What `make unit` asks for: then files that are slow as a whole are not even imported."""
FIRST = ("tests/journeys/test_demo", "tests/journeys/test_kill", "tests/journeys/test_init", "tests/journeys/")
"""What takes longest, begun first, so that no worker is left with it at the end."""
IN_CI = os.environ.get("CI") == "true"

# The suite starts hundreds of processes: each would compile every module anew where none may write down what it compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if not IN_CI:  # there hypothesis says the same by itself
    settings.register_profile("beside others", deadline=None)
    settings.load_profile("beside others")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out of the unit part what would be imported for nothing."""
    if config.getoption("markexpr") != UNIT or collection_path.suffix != ".py":
        return None
    place = collection_path.relative_to(config.rootpath).as_posix()
    return True if place.startswith((*SLOW, "tests/journeys/")) and not place.endswith("conftest.py") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as slow what starts processes or simulates at length, which `make unit` leaves out; begins with the longest."""
    for item in items:
        if place(item).startswith(SLOW):
            item.add_marker("slow")
    items.sort(key=lambda item: next((rank for rank, start in enumerate(FIRST) if place(item).startswith(start)), len(FIRST)))


def place(item: pytest.Item) -> str:
    """The file of a test, from the root."""
    return item.nodeid.partition("::")[0]


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
