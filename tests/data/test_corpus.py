"""Documents into an index: readers, chunks, the workflow; what fails changes nothing, and nobody reads what is not theirs."""

from __future__ import annotations

import io
import itertools
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.migrated import migrated
from tests.postgres import Server

from tandem.core.asset import Ref
from tandem.core.clock import FixedClock
from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable, Upstream
from tandem.core.principal import Principal, Role
from tandem.core.run import Run
from tandem.core.secret import Secret
from tandem.data.corpus import hashed
from tandem.data.corpus.child import Found, Order, Read, carry_out, check_document, read_apart
from tandem.data.corpus.chunk import CHARACTERS, Heading, Text, cut, sentences
from tandem.data.corpus.indexes import Indexes, vectors_of
from tandem.data.corpus.read import read
from tandem.data.corpus.rights import check_readers, readers_of
from tandem.data.corpus.shelf import Shelf, card_of
from tandem.data.corpus.tasks import make_index
from tandem.gateway.inside import SECONDS, Said
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.jobs.fake import InlineJobs
from tandem.jobs.job import Halted, Job, Why
from tandem.jobs.repo import Runs
from tandem.registry.registry import Registry
from tandem.store import raw
from tandem.store.blobs import Blobs
from tandem.store.sql import Sql
from tandem.store.vault import Vault
from tandem.store.vectors import unpack

LEAVE = "# Leave\n\n## Vacation\n\nThirty days of vacation each year. They expire on 31 March.\n"
TRAVEL = "Receipts of hotels are handed in within a month.\n"


def person(team: str = "risk", role: Role = "editor", name: str = "") -> Principal:
    return Principal(id=f"key_{team}{role}", name=name or f"{team}-{role}", team=team, role=role)


class Embedder:
    """Answers `/v1/embeddings` with two numbers; or with whatever it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, str]] = []
        self.fail_after = 10**9

    def post(self, path: str, body: Mapping[str, Any], by: Principal, *, seconds: float = SECONDS) -> Said:
        self.asked.append((body["model"], len(body["input"]), by.name))
        if len(self.asked) > self.fail_after:
            return Said(status=429, body={"error": {"code": "over_budget", "message": "No room."}}, trace="trc_1", seconds=0)
        data = [{"index": n, "embedding": [1.0, float("vacation" in text)]} for n, text in enumerate(body["input"])]
        return Said(status=200, body={"data": data[::-1]}, trace="trc_1", seconds=0.0)


def inline(folder: Path, order: Order, progress: object, cancelled: object) -> tuple[Found, ...]:
    """Reads in this process: a child takes half a second."""
    (folder / "order.json").write_bytes(msgspec.json.encode(order))
    return carry_out(folder, lambda line: None)


class Steps:
    """Checkpoints that outlive an attempt; the process dies in a step when its work is done and not yet known to be."""

    def __init__(self) -> None:
        self.done: dict[str, str] = {}
        self.dies_in, self.dead = "", False

    def step(self, name: str, work: Callable[[], str]) -> str:
        if name not in self.done:
            result = work()
            if name == self.dies_in:
                self.dead = True
                raise Halted("lost")
            self.done[name] = result
        return self.done[name]

    def halted(self) -> Why | None:
        return "lost" if self.dead else None


NUMBERS = itertools.count()


@dataclass
class House:
    home: Path
    sql: Sql
    registry: Registry
    runs: Runs
    audit: Audit
    shelf: Shelf
    embedder: Embedder = field(default_factory=Embedder)
    read: Read = inline
    database: str = ""
    """Where the indexes lie, if not in files."""

    @property
    def indexes(self) -> Indexes:
        return Indexes(self.registry, self.shelf, self.embedder, self.sql, self.audit)

    def add(self, files: Mapping[str, bytes | str], *, by: Principal | None = None, **inputs: object) -> Run:
        by = by or person()
        jobs = InlineJobs(self.runs, FixedClock())
        jobs.register("index", make_index(self.registry, self.shelf, self.embedder, work=self.home / "work", read=self.read))
        run = self.runs.create("index", "policies", by=by)
        folder = self.home / "work" / run.id
        folder.mkdir(parents=True)
        (folder / "upload").write_bytes(bundle(files))
        jobs.start("index", run.id, {"by": asdict(by), "upload": "upload", **inputs})
        return self.runs.find(run.id, ALL)

    def everything(self) -> tuple[object, ...]:
        """All that a refresh may change, but for its Run and the clock's ticks."""
        versions = self.registry.versions("index", "policies", ALL)
        corpus = self.shelf.corpus("policies")
        held = [corpus.documents(card_of(version.meta).store, None) for version in versions]
        return versions, held, sorted((self.home / "work").rglob("*")), corpus.sweep({card_of(v.meta).store: v for v in versions})

    def found(self, text: str, by: Principal | None = None, ref: str = "index/policies") -> set[str]:
        return {hit.document for hit in self.indexes.search(Ref.parse(ref), text, 50, by=by or person()).hits}


def bundle(files: Mapping[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def furnished(home: Path, server: Server | None = None) -> House:
    url = f"sqlite:///{home / 'control.db'}"
    migrated(url)
    sql, clock = Sql(url), FixedClock()
    audit = Audit(sql, Vault(bytes(32)), clock, home / "audit.head")
    (home / "work").mkdir()
    database = "" if server is None else server.database(f"corpus{next(NUMBERS)}")
    shelf = Shelf(Secret(database) if database else home / "search")
    registry = Registry(sql, Blobs(home / "blobs"), audit, clock)
    return House(home, sql, registry, Runs(sql, clock), audit, shelf, database=database)


@pytest.fixture(params=["files", "server"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    here = furnished(tmp_path, request.getfixturevalue("postgres") if request.param == "server" else None)
    yield here
    here.shelf.close()
    here.sql.close()
    assert request.param == "files" or not (tmp_path / "search").exists()


def test_a_folder_becomes_a_version(house: House) -> None:
    house.read = read_apart
    run = house.add({"hr/leave.md": LEAVE, "travel.txt": TRAVEL})
    assert (run.state, run.outputs["asset"], run.outputs["added"]) == ("succeeded", "index/policies@1", 2)
    version = house.registry.find(Ref.parse("index/policies@1"), ALL)
    assert (version.meta["documents"], version.meta["embedder"], version.run) == (2, "hashed-v1", run.id)
    assert "leave.md" not in str(version.meta)
    hit = house.indexes.search(Ref.parse("index/policies"), "vacation days", 1, by=person()).hits[0]
    assert (hit.document, hit.heading, hit.title) == ("hr/leave.md", "Leave › Vacation", "Leave")
    assert LEAVE[hit.start : hit.end] == hit.text
    assert list((house.home / "work").iterdir()) == []


def test_the_same_again_is_the_same_version(house: House) -> None:
    house.add({"leave.md": LEAVE})
    run = house.add({"leave.md": LEAVE})
    assert (run.outputs["asset"], run.outputs["unchanged"]) == ("index/policies@1", 1)
    assert len(house.registry.versions("index", "policies", ALL)) == 1


def test_what_is_not_sent_stays_unless_all_is_replaced(house: House) -> None:
    house.add({"leave.md": LEAVE, "travel.txt": TRAVEL})
    run = house.add({"leave.md": "Twenty days of vacation.\n"})
    assert {key: run.outputs[key] for key in ("changed", "unchanged", "removed")} == {"changed": 1, "unchanged": 1, "removed": 0}
    assert house.found("hotels vacation") == {"travel.txt", "leave.md"}
    assert house.add({"leave.md": "Twenty days of vacation.\n"}, replace=True).outputs["removed"] == 1
    assert house.found("hotels receipts") <= {"leave.md"}
    assert "travel.txt" in house.found("hotels receipts", ref="index/policies@1")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"leave.md": "new", "bad.pdf": b"%PDF-1.4 no"}, "'bad.pdf' cannot be read as PDF"),
        ({"leave.md": "new", "bad.txt": b"\xff\xfa\x00"}, "'bad.txt' is no UTF-8 text"),
        ({"leave.md": "new", "empty.html": "<p> </p>"}, "'empty.html' holds no text"),
        ({"leave.md": "new", "photo.jpg": b"x"}, "'photo.jpg' is of no format"),
        ({"leave.md": "new", "../up.md": "x"}, "no plain relative path"),
        ({}, "holds no document"),
    ],
)
def test_a_refresh_that_fails_changes_nothing(house: House, files: Mapping[str, bytes | str], told: str) -> None:
    house.add({"leave.md": LEAVE})
    before = house.everything()
    run = house.add(files)
    assert run.state == "failed"
    assert told in (run.reason or "")
    assert house.everything() == before
    assert house.found("vacation") == {"leave.md"}


def test_what_a_killed_refresh_left_is_never_seen_and_is_finished_by_the_next_attempt(house: House) -> None:
    house.add({"leave.md": LEAVE})
    work = make_index(house.registry, house.shelf, house.embedder, work=house.home / "work", read=inline)
    run = house.runs.create("index", "policies", by=person())
    folder = house.home / "work" / run.id
    folder.mkdir()
    (folder / "upload").write_bytes(bundle({"leave.md": "Twenty days of vacation.\n"}))

    inputs = {"by": asdict(person()), "upload": "upload"}
    steps = Steps()
    for name, versions in (("begin", 1), ("read", 1), ("plan", 1), ("publish", 2), ("settle", 2)):
        steps.dies_in, steps.dead = name, False
        with pytest.raises(Halted):
            work(Job(run, inputs, house.runs, FixedClock(), steps))
        assert len(house.registry.versions("index", "policies", ALL)) == versions
        assert house.found("vacation", ref="index/policies@1") == {"leave.md"}
    steps.dies_in, steps.dead = "", False
    assert work(Job(run, inputs, house.runs, FixedClock(), steps))["asset"] == "index/policies@2"
    assert len(house.registry.versions("index", "policies", ALL)) == 2
    assert list((house.home / "work").iterdir()) == []


def test_deletion_reaches_every_version_and_is_audited(house: House) -> None:
    house.add({"leave.md": LEAVE, "travel.txt": TRAVEL})
    house.add({"leave.md": "Twenty days of vacation.\n"})
    assert house.indexes.delete("policies", "leave.md", by=person()) == 2
    for ref in ("index/policies@1", "index/policies@2", "index/policies"):
        assert "leave.md" not in house.found("vacation days", ref=ref)
    row = house.audit.list(ALL, action="index.delete")[0]
    assert (row.subject, row.actor) == ("index/policies", "risk-editor")
    with pytest.raises(NotFound):
        house.indexes.delete("policies", "leave.md", by=person())
    assert len(house.audit.list(ALL, action="index.delete")) == 1
    again = house.add({"leave.md": "Twenty days of vacation.\n"})
    assert again.outputs["asset"] == "index/policies@3"
    assert "leave.md" in house.found("vacation", ref="index/policies@3")
    assert "leave.md" not in house.found("vacation", ref="index/policies@2")


def test_a_deletion_whose_traces_cannot_be_wiped_is_done_and_audited_and_the_next_try_wipes(
    tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "WIPE_SECONDS", 1)
    house = furnished(tmp_path, postgres)
    house.add({"leave.md": "The cellist Mandrakova has leave.\n", "travel.txt": TRAVEL})
    with psycopg.connect(house.database) as dump:
        dump.execute("SELECT * FROM search.chunks_1")
        with pytest.raises(Unavailable, match="The search store of policies"):
            house.indexes.delete("policies", "leave.md", by=person())
        assert house.found("cellist leave") <= {"travel.txt"}
        assert len(house.audit.list(ALL, action="index.delete")) == 1
    assert postgres.holding(b"Mandrakova")
    with pytest.raises(NotFound):
        house.indexes.delete("policies", "leave.md", by=person())
    assert not postgres.holding(b"Mandrakova")
    house.shelf.close()
    house.sql.close()


def test_readers_stay_until_they_are_given_anew(house: House) -> None:
    house.add({"leave.md": LEAVE}, readers=["team/hr"])
    house.add({"leave.md": "Twenty days of vacation.\n"})
    assert house.found("vacation", person("hr")) == {"leave.md"}
    with pytest.raises(NotFound):
        house.found("vacation", person("legal"))
    assert house.found("vacation", person("risk")) == set()
    house.add({"leave.md": "Twenty days of vacation.\n"}, readers=["everyone"])
    assert house.found("vacation", person("legal")) == {"leave.md"}
    house.add({"leave.md": "Twenty days of vacation.\n"}, readers=[])
    for who in (person("hr"), person("legal")):
        for ref in ("index/policies", "index/policies@1", "index/policies@3"):
            with pytest.raises(NotFound):
                house.found("vacation", who, ref)
    assert house.found("vacation", person("risk", "admin")) == set()


def test_who_may_not_write_adds_and_deletes_nothing(house: House) -> None:
    house.add({"leave.md": LEAVE}, readers=["everyone"])
    assert "no right to write" in (house.add({"a.md": "x"}, by=person("risk", "viewer")).reason or "")
    assert "taken by another team" in (house.add({"a.md": "x"}, by=person("sales")).reason or "")
    with pytest.raises(Forbidden):
        house.indexes.delete("policies", "leave.md", by=person("risk", "viewer"))
    with pytest.raises(NotFound):
        house.indexes.delete("policies", "leave.md", by=person("sales"))
    assert house.found("vacation", person("sales")) == {"leave.md"}


TEAMS = ("risk", "sales", "hr")
WORDS = st.sampled_from(["everyone", "team/risk", "team/sales", "key/hr-editor", "role/viewer"])
CONTENTS = st.tuples(
    st.sampled_from(["a.md", "b.md", "c.md"]),
    st.sampled_from(["apple", "pear", "plum"]),
    st.lists(WORDS, max_size=2, unique=True),
)


@settings(max_examples=12, deadline=None)
@given(
    given=st.lists(CONTENTS, min_size=1, max_size=4),
    role=st.sampled_from(["viewer", "editor", "admin", "auditor"]),
    query=st.sampled_from(["apple", "pear plum", "secret", "apple a.md team/risk"]),
)
def test_no_query_no_alias_and_no_version_shows_what_is_not_the_callers(
    tmp_path_factory: pytest.TempPathFactory, given: list[tuple[str, str, list[str]]], role: Role, query: str
) -> None:
    """Every content bears its own readers; only those who may read it and its newest content meet its text anywhere."""
    here = furnished(tmp_path_factory.mktemp("house"))
    readers: dict[str, set[str]] = {}
    newest: dict[str, set[str]] = {}
    for number, (name, word, words) in enumerate(given):
        run = here.add({name: f"The secret {word} is number {number}."}, readers=words)
        assert run.state == "succeeded", run.reason
        readers[f"number {number}"], newest[name] = set(words), set(words)
    versions = here.registry.versions("index", "policies", ALL)
    here.registry.promote(versions[-1].ref, "production", by=person("risk", "admin"))
    refs = ["index/policies", "index/policies@production", *(str(version.ref) for version in versions)]
    for team in TEAMS:
        caller = person(team, role)
        mine = readers_of(caller)
        for ref in refs:
            try:
                hits = list(here.indexes.search(Ref.parse(ref), query, 50, by=caller).hits)
                for name in newest:
                    try:
                        hits += here.indexes.chunks(Ref.parse(ref), name, by=caller)
                    except NotFound:
                        continue
            except (NotFound, Forbidden):
                continue
            for hit in hits:
                number = "number " + hit.text.rpartition("number ")[2].rstrip(".")
                assert mine & readers[number], (team, role, ref, hit)
                assert mine & newest[hit.document], (team, role, ref, hit)
    here.sql.close()


def test_vectors_of_an_endpoint_are_asked_in_the_askers_name(house: House) -> None:
    run = house.add({"leave.md": LEAVE, "travel.txt": TRAVEL}, embed="vectors")
    assert run.outputs["embedder"] == "endpoint:vectors"
    assert house.embedder.asked == [("vectors", 3, "risk-editor")]
    hit = house.indexes.search(Ref.parse("index/policies"), "vacation", 1, by=person()).hits[0]
    assert (hit.document, hit.vector) == ("leave.md", 1)
    assert house.embedder.asked[-1] == ("vectors", 1, "risk-editor")
    house.add({"new.txt": "Something new about vacation.\n"})
    assert house.embedder.asked[-1][:2] == ("vectors", 1)
    changed = house.add({"new.txt": "Something new about vacation.\n"}, embed="hashed")
    assert changed.outputs["embedder"] == "hashed-v1"
    assert {entry.embedder for entry in house.indexes.documents(Ref.parse("index/policies"), by=person())[1]} == {"hashed-v1"}
    assert house.found("hotel receipts")


def test_a_refused_embedding_fails_the_refresh_and_changes_nothing(house: House) -> None:
    house.add({"leave.md": LEAVE})
    before = house.everything()
    house.embedder.fail_after = len(house.embedder.asked)
    run = house.add({"travel.txt": TRAVEL}, embed="vectors")
    assert "over_budget" in (run.reason or "")
    assert house.everything() == before


@pytest.mark.parametrize(
    "body",
    [None, {}, {"data": []}, {"data": [{"index": 0, "embedding": []}]}, {"data": [{"index": 0, "embedding": ["x"]}]},
     {"data": [{"index": 0, "embedding": [float("nan")]}]}, {"data": [{"embedding": [1.0]}]}],
)  # fmt: skip
def test_an_answer_without_vectors_is_refused(body: object) -> None:
    with pytest.raises(Upstream):
        vectors_of(body, 1, "vectors")


# --- reading


def pdf(*pages: str) -> bytes:
    """A small PDF with one line of text per page."""
    objects: list[bytes] = []
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects.append(b"<< /Type /Catalog /Pages 2 0 R >>")
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for n, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
        font = "/Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] {font} /Contents {5 + 2 * n} 0 R >>".encode())
        objects.append(b"<< /Length %d >>\nstream\n" % len(stream) + stream + b"\nendstream")
    out = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)


def test_a_pdf_is_read_page_by_page() -> None:
    text = read("a.pdf", pdf("First page says alpha.", "Second page says beta."))
    chunks = cut(text)
    assert [(chunk.page, chunk.text) for chunk in chunks] == [(1, "First page says alpha."), (2, "Second page says beta.")]


def test_a_bomb_ends_the_child_and_not_us(house: House) -> None:
    house.read = read_apart
    bomb = zlib.compress(b"BT /F1 12 Tf (x) Tj ET\n" * 40_000_000)
    data = pdf("x").replace(b"BT /F1 12 Tf 72 720 Td (x) Tj ET", b"@")
    head, _, tail = data.partition(b"<< /Length 32 >>\nstream\n@")
    assert tail
    broken = head + b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(bomb) + bomb + tail
    house.add({"leave.md": LEAVE})
    before = house.everything()
    run = house.add({"bomb.pdf": broken})
    assert run.state == "failed"
    assert "bomb.pdf" in (run.reason or "")
    assert house.everything() == before


@pytest.mark.parametrize(
    ("name", "data", "text", "headings"),
    [
        ("a.md", "# A *b*\n\nx\n\nSub\n---\ny\n```\n# no\n```\n", None, ["A b", "Sub"]),
        ("a.txt", "# plain\n", "# plain\n", []),
        ("a.html", "<title>T</title><h1>H &amp; x</h1><script>no()</script>one<br>two", "H & x\n\none\ntwo", ["H & x"]),
        ("a.html", "<nav>no</nav><div hidden>no</div><p>yes", "yes", []),
        ("a.html", "<p>a</p><svg><p>no", "a\n\n", []),
        ("a.txt", "a\r\nb\rc", "a\nb\nc", []),
    ],
)
def test_text_is_read_as_people_see_it(name: str, data: str, text: str | None, headings: list[str]) -> None:
    found = read(name, data.encode())
    assert found.text == (data if text is None else text)
    assert [heading.text for heading in found.headings] == headings


@given(st.text(max_size=400), st.sampled_from(["a.md", "a.txt", "a.html"]))
def test_any_text_can_be_read_and_cut(text: str, name: str) -> None:
    try:
        found = read(name, text.encode("utf-8", "replace"))
    except Invalid:
        return
    for chunk in cut(found, characters=40):
        assert found.text[chunk.start : chunk.end] == chunk.text
        assert 0 < len(chunk.text) <= 40


@given(st.lists(st.sampled_from(["word", "longer-word", ". ", "\n\n", "\n", " ", "? ", "x" * 70]), max_size=60).map("".join))
def test_chunks_hold_every_word_once_and_in_order(text: str) -> None:
    headings = tuple(Heading(at=at, level=1 + at % 3, text=f"h{at}") for at in range(0, len(text), 97))
    pages = tuple(range(0, len(text), 41))
    chunks = cut(Text(text=text, headings=headings, pages=pages), characters=50)
    assert all((chunk.start // 41, chunk.page) == ((chunk.end - 1) // 41, chunk.start // 41 + 1) for chunk in chunks)
    assert "".join("".join(chunk.text.split()) for chunk in chunks) == "".join(text.split())
    assert [chunk.start for chunk in chunks] == sorted({chunk.start for chunk in chunks})
    assert all(chunk.text == text[chunk.start : chunk.end] and chunk.text.strip() for chunk in chunks)
    for low, high in sentences(text):
        assert text[low:high].strip()


def test_a_chunk_knows_the_headings_above_it() -> None:
    chunks = cut(read("a.md", b"# A\n\none\n\n## B\n\ntwo\n\n# C\n\nthree\n"))
    assert [chunk.heading for chunk in chunks] == ["A", "A › B", "C"]
    assert all(len(chunk.text) <= CHARACTERS for chunk in chunks)


@pytest.mark.parametrize("name", ["", "/etc/x.md", "a//b.md", "../x.md", "a/./b.md", "x\n.md", "a" * 600])
def test_a_document_is_named_by_a_plain_path(name: str) -> None:
    with pytest.raises(Invalid):
        check_document(name)


def test_readers_are_words_that_are_known() -> None:
    assert check_readers(["team/b", "everyone", "team/b"]) == ("everyone", "team/b")
    for word in ("", "all", "team/", "role/wizard", "team/a b", "user/x"):
        with pytest.raises(Invalid):
            check_readers([word])
    assert "everyone" in readers_of(person())


def test_a_person_reads_by_their_own_name_and_through_their_keys() -> None:
    signed_in = Principal(id="per_1", name="ada", team="red", kind="person", role="editor", owner="person/ada")
    key = Principal(id="key_1", name="app", team="red", role="viewer", owner="person/ada")
    assert readers_of(signed_in) == {"everyone", "team/red", "role/editor", "person/ada"}  # and not what a key of this name read
    assert readers_of(key) == {"everyone", "team/red", "role/viewer", "person/ada", "key/app"}
    assert readers_of(replace(key, owner="service/ada")) == {"everyone", "team/red", "role/viewer", "key/app"}


def test_hashed_vectors_are_near_for_near_words() -> None:
    def near(one: str, other: str) -> float:
        return sum(a * b for a, b in zip(unpack(hashed.embed(one)), unpack(hashed.embed(other)), strict=True))

    assert near("vacation days", "vacation days") == pytest.approx(1.0, abs=1e-5)
    assert near("vacation", "vacations") > 0.3 > near("vacation", "receipt")
    assert set(unpack(hashed.embed("…"))) == {0.0}
    assert near("Über", "uber") == pytest.approx(1.0, abs=1e-5)


def test_a_cancelled_reading_ends_the_child(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(bundle({"a.md": "x"}))
    with pytest.raises(Conflict):
        read_apart(tmp_path, Order(upload="upload"), lambda share, stage: None, lambda: True)
