"""Writes a small home with the code that is installed, for the next version to start on.

Run it after a change of any format of the home, and keep the file: `python -m tests.store.make_home REVISION`. The next
change then begins with a home of the schema before it; a test asks for it.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import httpx2
from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, platform

HOMES = Path(__file__).parent / "homes"
FACTS = "facts.json"
PERSON, SAID = "person-of-the-past", "what was said in the past"
LEFT_OUT = ("replica.db", "served", "work", "journal", "blobs/tmp")
ENDS = (".lock", ".sock", "-shm")


def furnish(house: Platform) -> dict[str, object]:
    """Does a little of everything; returns what must be found again."""
    house.key("ci", team="risk", role="editor")
    house.api("POST", "/persons", json={"name": "ada", "email": "ada@example.org", "teams": {"risk": "editor"}})
    house.key("ada-app", team="risk", role="viewer", owner="person/ada", models=["mock/*"])
    house.api("PUT", "/budgets/team/risk", json={"cap": "3", "window": "month"})
    for text in ("Say it", "Say it again"):
        house.api("POST", "/prompts/greeting", json={"template": text})
    house.api("POST", "/assets/prompt/greeting/promote", json={"version": 2})
    house.api("PUT", "/gates/model/red", json={"minimum": 0.6})
    house.api("POST", "/monitors", json={"name": "told", "endpoint": "assistant", "question": "scores"})
    rows = "x,y\n" + "".join(f"{number},{'ab'[number % 2]}\n" for number in range(40))
    reply = httpx2.post(
        f"{house.url}/api/v1/datasets/small?format=csv", content=rows, headers=bearer(ADMIN), timeout=60, verify=TLS
    )
    assert reply.status_code == 201, reply.text
    house.api("POST", "/policies/strict", json={"guards": [{"detector": "card", "action": "block"}]})
    run = house.api("POST", "/indexes/rules/documents?document=a.md&reader=everyone", content=b"# Leave\n\nThirty days.\n")["id"]
    deadline = time.monotonic() + 30
    while house.api("GET", f"/runs/{run}")["state"] != "succeeded":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    body = {"model": "assistant", "max_tokens": 8, "user": PERSON, "messages": [{"role": "user", "content": SAID}]}
    answered = httpx2.post(f"{house.url}/v1/chat/completions", json=body, headers=bearer(ADMIN), timeout=30, verify=TLS)
    assert answered.status_code == 200, answered.text
    batch = _batch(house)
    house.settle()
    time.sleep(0.5)
    trace = answered.headers["x-tandem-trace-id"]
    return {
        "trace": trace,
        "cost": house.api("GET", f"/traces/{trace}")["cost"],
        "assets": sorted(f"{row['kind']}/{row['name']}@{row['newest']['version']}" for row in house.api("GET", "/assets")),
        "digest": house.api("GET", "/assets/prompt/greeting/2")["digest"],
        "budgets": [[row["scope"], row["window"], row["cap"]] for row in house.api("GET", "/budgets")],
        "spend": house.api("GET", "/spend?scope=org")["cost"],
        "audit": house.api("POST", "/audit/verify")["count"],
        "keys": sorted(row["name"] for row in house.api("GET", "/keys")),
        "persons": {row["name"]: row["teams"] for row in house.api("GET", "/persons")},
        "bound": {row["name"]: [row["owner"], row["models"]] for row in house.api("GET", "/keys") if row["owner"]},
        "monitors": [row["name"] for row in house.api("GET", "/monitors")],
        "batch": batch,
    }


def _batch(house: Platform) -> str:
    """A batch that has been answered."""
    body = {"model": "assistant", "max_tokens": 8, "messages": [{"role": "user", "content": SAID}]}
    line = json.dumps({"custom_id": "past", "method": "POST", "url": "/v1/chat/completions", "body": body}).encode()
    with httpx2.Client(base_url=f"{house.url}/v1", headers=bearer(ADMIN), timeout=30, verify=TLS) as http:
        sent = http.post("/files", files={"file": ("past.jsonl", line)}, data={"purpose": "batch"}).json()["id"]
        wanted = {"input_file_id": sent, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = str(http.post("/batches", json=wanted).json()["id"])
        deadline = time.monotonic() + 30
        while http.get(f"/batches/{batch}").json()["status"] != "completed":
            assert time.monotonic() < deadline
            time.sleep(0.1)
    return batch


def main() -> None:
    """Writes `homes/NAME.tar.gz`."""
    with tempfile.TemporaryDirectory() as folder, platform(Path(folder)) as house:
        facts = furnish(house)
        assert house.down() == 0
        (house.home / FACTS).write_text(json.dumps(facts, indent=2))
        HOMES.mkdir(exist_ok=True)
        with tarfile.open(HOMES / f"{sys.argv[1]}.tar.gz", "w:gz") as tar:
            for path in sorted(house.home.rglob("*")):
                name = str(path.relative_to(house.home))
                if path.is_file() and not name.startswith(LEFT_OUT) and not name.endswith(ENDS):
                    tar.add(path, name)


if __name__ == "__main__":
    main()
