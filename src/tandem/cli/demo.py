"""`tandem demo`: the whole story on real data, over real HTTP, with the very commands a user would type.

It starts the platform on a fresh home, and a mock upstream unless a real one is named by the
environment, and runs every step as a process of its own. What it prints is what those processes said.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from tandem.cli import insurance
from tandem.cli.story import Story, Upstream, example
from tandem.core.errors import Broken, Invalid, Unreachable
from tandem.core.ids import new_id

PATIENCE_SECONDS = 60.0
MODEL = "gpt-4o-mini"
CAP = "0.0002"
PROMPT = """\
A classifier gives a biopsy a probability of {{ probability }} of being malignant. Its strongest reasons:
{{ evidence }}

In three sentences for a clinician: what speaks for and against malignancy here, and what should be checked next?
"""
TOML = """\
# Written by `tandem demo`.
[providers.{name}]
protocol = "openai"
base_url = "{url}"
keys = ["env:{variable}"]
prices = "openai"

[endpoints.assistant]
kind = "chat"
max_output_tokens = 256
route = [{{ target = "{name}/{model}" }}]
"""


@click.command(short_help="Tell the whole story on real data.")
@click.option("--once", is_flag=True, help="End by itself; the exit code says whether every step held.")
@click.option(
    "--port", type=int, default=8400, show_default=True, help="The platform's port; another one is taken when it is in use."
)
def demo(once: bool, port: int) -> None:
    """Start a fresh platform and run the story: data, training, gate, prediction, chat, cap, decision, trace, audit.

    With OPENAI_API_KEY, or OPENAI_BASE_URL for any compatible server, the chat goes there; else to a mock.
    """
    try:
        import sklearn  # noqa: F401  # the data ships inside it
    except ImportError:
        raise Invalid("The demo needs the machine-learning extra.", hint='Run: pip install "tandem-ai[ml]".') from None
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the platform ends with it
    folder = Path(tempfile.mkdtemp(prefix="tandem-demo-"))
    with _upstream() as upstream, _platform(folder, upstream, _free(port)) as story:
        tell(story, upstream)
        seconds = time.monotonic() - story.started
        click.echo()
        if story.failed:
            click.secho(f"{len(story.failed)} of the story's claims did not hold after {seconds:.0f} s.", fg="red", bold=True)
        else:
            click.secho(f"Every step held, in {seconds:.0f} s.", fg="green", bold=True)
        if not once:
            click.echo(f"\n  Console   {story.url}\n  Admin key {story.environment['TANDEM_KEY']}\n  Home      {folder / 'home'}")
            click.echo("  Stop it with Ctrl-C.")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    raise SystemExit(1 if story.failed else 0)


def tell(story: Story, upstream: Upstream) -> None:
    """All steps in order."""
    rows = write_biopsies(story.folder / "biopsies.csv")
    _data(story)
    _training(story)
    _gate(story)
    _predict(story, rows)
    _chat(story, upstream)
    trace = _decide(story, rows)
    _proof(story, trace)
    insurance.tell(story, upstream)


def _data(story: Story) -> None:
    story.title("1. Data: a dataset is a version with a contract")
    story.say("569 biopsies of the Wisconsin diagnostic data; record ids and times are synthetic.")
    story.run("data", "add", "biopsies", "biopsies.csv", "--id", "record", "--time", "taken_at")
    story.say("Broken files are refused whole, with row and column:")
    broken = broken_files(story.folder / "biopsies.csv")
    for name, text in broken.items():
        (story.folder / name).write_bytes(text)
        story.run("data", "add", "biopsies", name, "--id", "record", "--time", "taken_at", code=1)
    versions = story.api("GET", "/assets/dataset/biopsies").get("versions", [])
    story.check(len(versions) == 1, "dataset/biopsies still has one version; nothing was half-written")
    story.figure("Data under contract", "tandem data add", f"569 rows kept; {len(broken)} of {len(broken)} broken files refused")


def _training(story: Story) -> None:
    story.title("2. Training: a gradient-boosted model beside a baseline, with evidence from rows neither had seen")
    story.run(*TRAIN)
    story.run("asset", "lineage", "model/tumor@1")
    auc = story.api("GET", "/assets/model/tumor/1")["meta"]["metrics"]["roc_auc"]
    story.figure("Training", "tandem train", f"roc_auc {auc['value']:.4f} [{auc['low']:.4f}, {auc['high']:.4f}] out of fold")


def _gate(story: Story) -> None:
    story.title("3. The gate: the server compares candidate and champion on the same rows")
    gate = ("gate", "set", "model/tumor", "--metric", "roc_auc", "--min", "0.95", "--require", "non-inferior")
    story.say("Two Policies: production tolerates a loss of 0.02, the alias `strict` one of 0.005.")
    story.run(*gate, "--margin", "0.02")
    story.run(*gate, "--margin", "0.005", "--alias", "strict")
    story.say("For the strict one 569 rows do not decide, and what is inconclusive does not pass:")
    story.run("promote", "model/tumor@1", "strict", code=4)
    story.say("For production they do; the first champion is the baseline:")
    story.run("promote", "model/tumor@1", "production")
    story.say("A worse candidate, a stump of two trees:")
    story.run(*TRAIN, "--no-baseline", "--param", "max_depth=1", "--param", "rounds=2", quiet=True)
    story.run("promote", "model/tumor@2", "production", code=4)
    aliases = story.api("GET", "/assets/model/tumor").get("aliases", {})
    story.check(aliases.get("production", {}).get("version") == 1, "production still is model/tumor@1")
    story.figure("Gates", "tandem promote", "inconclusive refused, non-inferior promoted, regressed refused")


TRAIN = ("train", "tumor", "--data", "dataset/biopsies", "--target", "diagnosis", "--positive", "malignant")


def _predict(story: Story, rows: Sequence[dict[str, str]]) -> None:
    story.title("4. Prediction through the door: Open Inference Protocol, under the contract")
    row = {name: float(value) for name, value in rows[0].items() if name not in ("record", "taken_at", "diagnosis")}
    (story.folder / "row.json").write_text(json.dumps(row))
    story.run("predict", "tumor", "--input", "@row.json")
    (story.folder / "bad.json").write_text(json.dumps({**row, "mean radius": -5.0}))
    story.run("predict", "tumor", "--input", "@bad.json", code=1)
    tensor = {"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": list(row.values())}
    asked = {"inputs": [{**tensor, "parameters": {"columns": list(row)}}]}
    took = sorted(reply.elapsed.total_seconds() * 1000 for reply in story.post_all("/v2/models/tumor/infer", [asked] * 200))
    story.figure(
        "Prediction", "tandem predict", f"{took[100]:.1f} ms for a row, median of 200 over HTTP; below its range: refused"
    )


def _chat(story: Story, upstream: Upstream) -> None:
    story.title("5. Chat through the door: every OpenAI client, priced, capped")
    story.say("The language model is " + ("the built-in mock." if upstream.bill else f"{upstream.model} at {upstream.url}."))
    key = story.api("POST", "/keys", {"name": "demo", "team": "clinic"})["key"]
    time.sleep(0.5)  # a new key is known to every worker within a second
    _openai_client(story, key)
    story.run("budget", "set", "key/demo", "--cap", CAP, "--window", "day")
    time.sleep(0.5)
    story.say(f"A cap of {CAP} USD a day, and a caller that does not stop:")
    answered, refusal = 0, ""
    body = {
        "model": "assistant",
        "max_tokens": 32,
        "messages": [{"role": "user", "content": "Why does a biopsy need a second opinion?"}],
    }
    for _ in range(500):
        reply = story.http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
        if reply.status_code == 429:
            refusal = reply.json()["error"]["message"]
            break
        answered += reply.status_code == 200
    story.say(f"{answered} calls were answered, then: {refusal}")
    story.check(answered > 0 and bool(refusal), "the cap was reached, and it held")
    _books(story, upstream)


def _books(story: Story, upstream: Upstream) -> None:
    time.sleep(1.0)  # what was spent last is booked within a second
    (budget,) = story.api("GET", "/budgets")
    story.run("budget", "list")
    story.check(budget["settled"] <= budget["cap"], "what was spent is within the cap")
    owed: int | None = None
    if upstream.bill is not None:
        bill = story.http.get(upstream.bill, headers={"authorization": f"Bearer {upstream.key}"}).json()
        spent = story.api("GET", "/spend?scope=org")["cost"]
        owed = spent - bill["totals"]["cost_nano"]
        story.check(owed == 0, f"ledger and upstream's bill agree to the nano-dollar: {spent}")
    used = f"{budget['settled'] / budget['cap']:.0%} of it spent, never more"
    told = "" if owed is None else f"; ledger less bill: {owed} nano-dollars"
    story.figure("Chat under a cap", "tandem budget set", f"cap {CAP} USD: {used}{told}")


def _openai_client(story: Story, key: str) -> None:
    try:
        import openai
    except ImportError:
        story.say("The openai client is not installed here; our own speaks the same wire.")
        story.run("chat", "assistant", "Say in one sentence what a biopsy is.")
        return
    client = openai.OpenAI(base_url=f"{story.url}/v1", api_key=key, max_retries=0)
    ask: Any = [{"role": "user", "content": "Say in one sentence what a biopsy is."}]
    whole = client.chat.completions.create(model="assistant", messages=ask, max_tokens=40)
    story.say(f"openai {openai.__version__}, whole:     {(whole.choices[0].message.content or '')[:90]}…")
    stream = client.chat.completions.create(model="assistant", messages=ask, max_tokens=40, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    story.say(f"openai {openai.__version__}, streaming: {len(pieces)} pieces, {sum(map(len, pieces))} characters")
    tool: Any = {
        "type": "function",
        "function": {"name": "book", "parameters": {"type": "object", "properties": {"day": {"type": "string"}}}},
    }
    called = client.chat.completions.create(model="assistant", messages=ask, tools=[tool], tool_choice="required", max_tokens=40)
    names = [call.function.name for call in called.choices[0].message.tool_calls or []]  # type: ignore[union-attr]
    story.check(bool(pieces) and names == ["book"], f"the unmodified client streams and calls tools: {names}")


def _decide(story: Story, rows: Sequence[dict[str, str]]) -> str:
    story.title("6. Decision: the model scores, the language model explains what is uncertain, a person is asked")
    (story.folder / "explain.txt").write_text(PROMPT)
    story.run("prompt", "add", "explain", "explain.txt", "--var", "probability:number", "--var", "evidence:string")
    story.run("promote", "prompt/explain@1", "production")
    story.run("decision", "add", "second-opinion", str(example("healthcare", "second_opinion.py")), "--entry", "second_opinion")
    story.run("promote", "decision/second-opinion@1", "production")
    story.served("POST", "/v1/decide/second-opinion")
    uncertain = ""
    told: dict[str, int] = {}
    for row in _spread(rows):
        values = {name: float(value) for name, value in row.items() if name not in ("record", "taken_at", "diagnosis")}
        reply = story.post("/v1/decide/second-opinion", {"record": row["record"], "measurements": values})
        answer = reply.json()
        finding = str(answer.get("finding"))
        told[finding] = told.get(finding, 0) + 1
        if told[finding] == 1:
            story.say(f"{row['record']} (truth: {row['diagnosis']}): {finding}, p = {answer.get('probability', 0):.3f}")
            story.say(f"    {str(answer.get('explanation'))[:200]}")
        if finding == "uncertain":
            uncertain = reply.headers["x-tandem-trace-id"]
        if len(told) == 3 and sum(told.values()) > 5:
            break
    story.check(bool(uncertain), "an uncertain case was explained and marked for a person")
    if uncertain:
        _person(story, uncertain)
    story.figure("Decisions", "tandem decide", ", ".join(f"{count} {finding}" for finding, count in sorted(told.items())))
    return uncertain


def _person(story: Story, trace: str) -> None:
    story.say("What was marked waits for a person, who says whether the answer was right:")
    waiting = story.until(lambda: [each["id"] for each in story.api("GET", "/reviews?state=open") if each["trace"] == trace])
    story.run("review", "list", "--state", "open", "--limit", "3")
    story.run("review", "decide", *waiting, "right", "--note", "It is a borderline case indeed.")


def _spread(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """A few cases of each kind, the borderline ones (by one well-known measure) first."""
    middle = sorted(
        rows, key=lambda row: abs(float(row["worst concave points"]) - 0.14) + abs(float(row["worst radius"]) - 16.8) / 20
    )
    return [*middle[:12], rows[0], rows[-1], *rows[20:26]]


def _proof(story: Story, trace: str) -> None:
    story.title("7. Why that answer, what did it cost, who allowed it?")
    if trace:
        whole = story.trace(trace)
        story.run("trace", "show", trace)
        (story.folder / "trace.json").write_text(json.dumps(whole, indent=1))
    story.run("audit", "verify")
    story.figure("Traces and audit", "tandem trace show", f"{story.api('POST', '/audit/verify')['count']} audit rows verified")


def write_biopsies(path: Path) -> list[dict[str, str]]:
    """The Wisconsin data of scikit-learn as CSV, with synthetic ids and times; returns its rows."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    dice, at = random.Random(569), datetime(2025, 1, 6, 8, 0, tzinfo=UTC)
    rows: list[dict[str, str]] = []
    for number, (values, target) in enumerate(zip(data.data, data.target, strict=True), 1):
        at += timedelta(minutes=dice.randrange(20, 240))
        measured = {str(name): repr(float(value)) for name, value in zip(data.feature_names, values, strict=True)}
        taken = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        rows.append({"record": f"B{number:04d}", "taken_at": taken, **measured, "diagnosis": str(data.target_names[target])})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def broken_files(good: Path) -> dict[str, bytes]:
    """The same file, broken in six ways."""
    lines = good.read_text().splitlines()
    head, first = lines[0].split(","), lines[1].split(",")
    cut = ["\n".join(",".join(line.split(",")[:5] + line.split(",")[6:]) for line in lines)]
    return {
        "missing-column.csv": cut[0].encode(),
        "text-in-number.csv": "\n".join([lines[0], ",".join([*first[:2], "wide", *first[3:]]), *lines[2:]]).encode(),
        "impossible-range.csv": "\n".join([lines[0], ",".join([*first[:2], "-17.99", *first[3:]]), *lines[2:]]).encode(),
        "ragged.csv": "\n".join([*lines[:9], lines[9] + ",1,2", *lines[10:]]).encode(),
        "wrong-encoding.csv": good.read_bytes()[:400] + b"\xff\xfe\x80" + good.read_bytes()[400:],
        "no-rows.csv": ",".join(head).encode() + b"\n",
    }


@contextlib.contextmanager
def _upstream() -> Iterator[Upstream]:
    key, address = os.environ.get("OPENAI_API_KEY"), os.environ.get("OPENAI_BASE_URL")
    if key or address:
        model = os.environ.get("OPENAI_MODEL", MODEL)
        yield Upstream(name="openai", url=address or "https://api.openai.com/v1", model=model, key=key or "none")
        return
    command = [sys.executable, "-m", "tandem", "mock", "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Upstream(name="mock", url=f"{told['url']}/v1", model=MODEL, key="demo", bill=f"{told['url']}/bill?limit=1")
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _platform(folder: Path, upstream: Upstream, port: int) -> Iterator[Story]:
    home = folder / "home"
    home.mkdir(mode=0o700)
    variable = "TANDEM_DEMO_UPSTREAM_KEY"
    (home / "tandem.toml").write_text(TOML.format(name=upstream.name, url=upstream.url, variable=variable, model=upstream.model))
    url, admin = f"http://127.0.0.1:{port}", new_id("tdm")
    environment = {**os.environ, "TANDEM_URL": url, "TANDEM_KEY": admin, "TANDEM_ADMIN_KEY": admin, variable: upstream.key}
    import httpx2

    http = httpx2.Client(base_url=url, headers={"authorization": f"Bearer {admin}"}, timeout=60)
    story = Story(folder, url, environment, http)
    click.secho(f"  $ tandem up --home {home} --port {port}", fg="cyan")
    command = [sys.executable, "-m", "tandem", "up", "--home", str(home), "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait(process, story)
        story.say(f"answers at {url} after {time.monotonic() - story.started:.1f} s")
        yield story
    finally:
        http.close()
        process.terminate()
        process.wait(60)


def _wait(process: subprocess.Popen[bytes], story: Story) -> None:
    import httpx2

    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Broken(f"`tandem up` ended with {process.returncode}.", hint="What it printed above says why.")
        with contextlib.suppress(httpx2.HTTPError):
            if story.http.get("/health/ready", timeout=2).status_code == 200:
                return
        time.sleep(0.05)
    raise Unreachable(f"The platform did not answer at {story.url} within {PATIENCE_SECONDS:g} s.")


def _free(port: int) -> int:
    """The port, or a free one when it is in use."""
    for wanted in (port, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", wanted))
            return int(probe.getsockname()[1])
    raise Invalid("There is no free port.")
