"""How well chunks are found: by words, by direction, and by both, on questions whose paragraph is known.

    python -m bench.retrieval CONTEXTS.jsonl QUESTIONS.jsonl

CONTEXTS has lines {"id", "text"}; QUESTIONS has lines {"question", "context_id"}. Every paragraph is one document of
one chunk, put through the product's own search file. hit@k: the share of questions whose paragraph is among the first
k. Latency is of one search after another in this process; with `--copies` also how late an event loop in the same
process gets its turn while searches run in a thread.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

from tandem.data.corpus import hashed
from tandem.store.search import Chunk, Document, Query, Refresh
from tandem.store.sqlite_search import SqliteSearch

READERS = frozenset({"everyone"})
WAYS = {"words (BM25)": (True, False), "direction (hashed-v1)": (False, True), "both, fused": (True, True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One way to search, measured."""

    way: str
    questions: int
    hit1: float
    hit5: float
    mean: float
    """Milliseconds of one search."""
    p99: float


def parser() -> ArgumentParser:
    made = ArgumentParser(prog="python -m bench.retrieval", description="hit@1 and hit@5 by words, by direction, and fused")
    made.add_argument("contexts", type=Path)
    made.add_argument("questions", type=Path)
    made.add_argument("--limit", type=int, default=1200, help="questions, from the first")
    made.add_argument("--copies", type=int, default=0, help="chunks of the latency test, the paragraphs repeated; 0: none")
    made.add_argument("--json", type=Path, help="write the figures to a file")
    return made


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def index(search: SqliteSearch, texts: Sequence[tuple[str, str]]) -> None:
    """One document of one chunk per text."""
    documents = (
        Document(
            name=name,
            title="",
            digest=f"sha256:{name}",
            readers=("everyone",),
            chunks=(Chunk(text=text, start=0, end=len(text)),),
            vectors=hashed.embed(text),
            embedder=hashed.NAME,
        )
        for name, text in texts
    )
    search.stage(Refresh(key="v", tick=search.tick(), documents=documents))
    search.settle("v")


def asked(question: str, way: str, limit: int) -> Query:
    lexical, vector = WAYS[way]
    direction = hashed.embed(question) if vector else b""
    return Query(text=question, vector=direction, lexical=lexical, limit=limit, weight=hashed.WEIGHT)


def measured(search: SqliteSearch, way: str, questions: Sequence[tuple[str, str]]) -> Figure:
    """Asks every question once."""
    first = five = 0
    took = []
    search.search("v", asked("warm", way, 5), READERS)
    for question, wanted in questions:
        begun = time.perf_counter()
        found = [hit.document for hit in search.search("v", asked(question, way, 5), READERS)]
        took.append(1000 * (time.perf_counter() - begun))
        first += found[:1] == [wanted]
        five += wanted in found
    took.sort()
    count = len(questions)
    return Figure(
        way=way, questions=count, hit1=first / count, hit5=five / count, mean=sum(took) / count, p99=took[int(0.99 * (count - 1))]
    )


async def beside(work: Callable[[], object], times: int) -> float:
    """Milliseconds: the 99th percentile of how late an event loop gets its turn while a thread does the work."""
    late: list[float] = []
    done = asyncio.Event()

    async def tick() -> None:
        while not done.is_set():
            begun = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(1000 * (time.perf_counter() - begun) - 1)

    ticking = asyncio.create_task(tick())
    for _ in range(times):
        await asyncio.to_thread(work)
    done.set()
    await ticking
    return sorted(late)[int(0.99 * (len(late) - 1))]


def main(given: Namespace) -> int:
    contexts = [(line["id"], line["text"]) for line in lines(given.contexts)]
    questions = [(line["question"], line["context_id"]) for line in lines(given.questions)][: given.limit]
    with tempfile.TemporaryDirectory() as folder:
        search = SqliteSearch(Path(folder) / "corpus.db")
        index(search, contexts)
        figures = [measured(search, way, questions) for way in WAYS]
        print(f"{len(contexts)} chunks, {len(questions)} questions\n")
        print("| found by | hit@1 | hit@5 | mean ms | p99 ms |\n|---|--:|--:|--:|--:|")
        for figure in figures:
            print(f"| {figure.way} | {figure.hit1:.3f} | {figure.hit5:.3f} | {figure.mean:.1f} | {figure.p99:.1f} |")
        if given.copies:
            many = SqliteSearch(Path(folder) / "many.db")
            index(many, [(f"{number}", contexts[number % len(contexts)][1]) for number in range(given.copies)])
            figure = measured(many, "both, fused", questions[:100])
            turn = cycle([question for question, _ in questions])
            busy = asyncio.run(beside(lambda: many.search("v", asked(next(turn), "both, fused", 8), READERS), 100))
            idle = asyncio.run(beside(lambda: time.sleep(figure.mean / 1000), 100))
            print(f"\n{given.copies} chunks: {figure.mean:.1f} ms mean, {figure.p99:.1f} ms p99")
            print(f"an event loop beside is late by {busy:.1f} ms (p99); beside a thread that sleeps instead, by {idle:.1f} ms")
    if given.json:
        given.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(parser().parse_args()))
