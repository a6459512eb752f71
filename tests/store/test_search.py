"""The contract of Search, over every implementation; and what those in SQLite and on PostgreSQL promise beside."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.postgres import Server

from tandem.core.errors import Broken, Unavailable
from tandem.core.secret import Secret
from tandem.data.corpus import hashed
from tandem.store import raw
from tandem.store.memory_search import MemorySearch
from tandem.store.postgres_search import PostgresSearch
from tandem.store.search import Chunk, Document, Hit, Query, Refresh, Search, chunk_id
from tandem.store.search_server import SearchServer
from tandem.store.sqlite_search import SqliteSearch
from tandem.store.vectors import Matrix, pack

NUMBERS = itertools.count()
ALL = frozenset({"everyone"})
Make = Callable[[], Search]


@pytest.fixture(scope="module")
def url(postgres: Server) -> Secret:
    """A database for the corpora of this module."""
    return Secret(postgres.database(f"search{next(NUMBERS)}"))


@pytest.fixture(scope="module")
def server(url: Secret) -> Iterator[SearchServer]:
    with closing(SearchServer(url)) as made:
        yield made


def corpus_on(server: SearchServer | Secret) -> PostgresSearch:
    """A corpus that nobody has used."""
    return PostgresSearch(server, f"corpus-{next(NUMBERS)}")


@pytest.fixture(params=["sqlite", "memory", "postgres"])
def search(request: pytest.FixtureRequest, tmp_path: Path) -> Search:
    match request.param:
        case "sqlite":
            return SqliteSearch(tmp_path / "corpus.db")
        case "postgres":
            return corpus_on(request.getfixturevalue("server"))
        case _:
            return MemorySearch()


def document(name: str, *texts: str, readers: tuple[str, ...] = ("everyone",), digest: str = "") -> Document:
    chunks, at = [], 0
    for text in texts:
        chunks.append(Chunk(text=text, start=at, end=at + len(text), heading=""))
        at += len(text) + 2
    return Document(
        name=name,
        title=name.upper(),
        digest=digest or f"sha256:{name}{len(at.to_bytes(4, 'big'))}{'|'.join(texts)}",
        readers=readers,
        chunks=tuple(chunks),
        vectors=b"".join(map(hashed.embed, texts)),
        embedder=hashed.NAME,
    )


def version(search: Search, key: str, *documents: Document, kept: tuple[int, ...] = ()) -> None:
    search.stage(Refresh(key=key, tick=search.tick(), documents=documents, kept=kept))
    search.settle(key)


def ask(search: Search, key: str, text: str, readers: frozenset[str] = ALL, **options: object) -> tuple[Hit, ...]:
    return search.search(key, Query(text=text, vector=hashed.embed(text), **options), readers)  # type: ignore[arg-type]


LEAVE = document("leave.md", "Thirty days of vacation each year.", "Sick leave needs a certificate after three days.")
TRAVEL = document("travel.md", "Trains before planes on every journey.", "Receipts of hotels within a month.")


def test_the_best_chunk_comes_first_with_its_ranks(search: Search) -> None:
    version(search, "v1", LEAVE, TRAVEL)
    first = ask(search, "v1", "hotels receipts")[0]
    assert (first.document, first.text, first.rank, first.bm25, first.vector) == (
        "travel.md", "Receipts of hotels within a month.", 1, 1, 1,
    )  # fmt: skip
    assert first.chunk == chunk_id(TRAVEL, 1)
    assert (first.start, first.end) == (40, 74)
    assert first.title == "TRAVEL.MD"


def test_without_a_common_word_the_vector_finds_it(search: Search) -> None:
    version(search, "v1", LEAVE, TRAVEL)
    first = ask(search, "v1", "certifcate")[0]
    assert "certificate" in first.text
    assert first.bm25 is None
    assert first.vector == 1


def test_words_alone_and_directions_alone(search: Search) -> None:
    version(search, "v1", LEAVE, TRAVEL)
    assert {hit.vector for hit in search.search("v1", Query(text="vacation", vector=b""), ALL)} == {None}
    assert {hit.bm25 for hit in ask(search, "v1", "vacation", lexical=False)} == {None}


def test_a_limit_cuts_the_list_and_nothing_else(search: Search) -> None:
    version(search, "v1", LEAVE, TRAVEL)
    whole = ask(search, "v1", "days of the month")
    assert ask(search, "v1", "days of the month", limit=1) == whole[:1]


@pytest.mark.parametrize(
    "text", ["", "   ", '"', "AND OR NOT", "a* NEAR(b c)", "x'); DROP TABLE texts; --", "\0", "é" * 5000, "%_%"]
)
def test_any_text_is_a_question(search: Search, text: str) -> None:
    version(search, "v1", LEAVE, TRAVEL)
    ask(search, "v1", text)
    assert len(search.documents("v1", ALL)) == 2


@pytest.mark.parametrize(
    "odd", ["zero\0zero", "\0", "\ufffd", "a\nb\ttab", "'; DROP TABLE editions; --", "\\x00", "{1,2}", "😀 ünï"]
)
def test_any_text_is_kept_as_it_is(search: Search, odd: str) -> None:
    text = f"Before {odd} the vacation."
    kept = Document(
        name=f"odd {odd}",
        title=odd,
        digest=f"sha256:{odd}",
        readers=("everyone", f"team/{odd}"),
        chunks=(Chunk(text=text, start=0, end=len(text), heading=odd),),
        vectors=hashed.embed(text),
        embedder=hashed.NAME,
    )
    version(search, "v1", kept, LEAVE)
    for hits in (ask(search, "v1", "before vacation"), search.chunks("v1", kept.name, frozenset({f"team/{odd}"}))):
        assert (hits[0].text, hits[0].heading, hits[0].title, hits[0].document) == (text, odd, odd, kept.name)
    (entry,) = [each for each in search.documents("v1", ALL) if each.name == kept.name]
    assert (entry.digest, entry.readers) == (kept.digest, kept.readers)
    assert search.delete(kept.name) == 1
    assert {each.name for each in search.documents("v1", None)} == {"leave.md"}


def test_a_word_of_any_length_is_found(search: Search) -> None:
    long = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(200))  # nothing makes it short
    version(search, "v1", document("long.md", f"The key {long} opens."), document("other.md", f"The key {long}2 does not."))
    (hit,) = search.search("v1", Query(text=long, vector=b""), ALL)
    assert hit.document == "long.md"


def test_a_document_of_many_chunks_is_whole(search: Search) -> None:
    texts = [f"Paragraph number{place} of the rules." for place in range(1203)]
    version(search, "v1", document("long.md", *texts), LEAVE)
    assert [hit.text for hit in search.chunks("v1", "long.md", ALL)] == texts
    for place in (0, 499, 500, 1202):
        first = ask(search, "v1", f"number{place}")[0]
        assert (first.text, first.bm25, first.vector) == (texts[place], 1, 1)


def test_no_readers_means_nobody(search: Search) -> None:
    version(search, "v1", document("secret.md", "The vault opens at noon.", readers=()))
    everyone = frozenset({"everyone", "team/a", "role/admin", "key/k", ""})
    assert ask(search, "v1", "vault noon", everyone) == ()
    assert search.documents("v1", everyone) == ()
    assert search.chunks("v1", "secret.md", everyone) == ()
    assert len(search.documents("v1", None)) == 1


def test_one_shared_word_for_a_reader_is_enough(search: Search) -> None:
    version(search, "v1", document("a.md", "Alpha.", readers=("team/a", "role/auditor")))
    assert len(ask(search, "v1", "alpha", frozenset({"team/b", "role/auditor"}))) == 1
    assert ask(search, "v1", "alpha", frozenset({"team/b", "role/viewer"})) == ()
    assert ask(search, "v1", "alpha", frozenset()) == ()


def test_what_is_hidden_changes_nothing_that_is_told(search: Search) -> None:
    open_documents = [
        document("one.md", "apples and pears", "pears alone in the garden"),
        document("two.md", "apples apples", "a garden wall"),
    ]
    hidden = [document(f"hidden{n}.md", "apples pears garden " * n, readers=("team/other",)) for n in range(1, 9)]
    version(search, "bare", *open_documents)
    version(search, "both", *hidden[:4], *[document(d.name, *(c.text for c in d.chunks)) for d in open_documents], *hidden[4:])
    for text in ("apples", "pears", "garden", "apples garden", "wall pears"):
        assert ask(search, "both", text) == ask(search, "bare", text)


def test_versions_stand_beside_each_other(search: Search) -> None:
    version(search, "v1", LEAVE)
    kept = tuple(entry.edition for entry in search.documents("v1", None))
    version(search, "v2", TRAVEL, kept=kept)
    assert {hit.document for hit in ask(search, "v1", "days receipts")} == {"leave.md"}
    assert {entry.name for entry in search.documents("v2", ALL)} == {"leave.md", "travel.md"}
    assert ask(search, "v3", "days receipts") == ()


def test_a_staged_version_twice_is_the_same(search: Search) -> None:
    tick = search.tick()
    assert search.stage(Refresh(key="v1", tick=tick, documents=[LEAVE])) == 1
    assert search.stage(Refresh(key="v1", tick=tick, documents=[LEAVE, TRAVEL])) == 1


def test_a_failed_stage_leaves_nothing(search: Search) -> None:
    version(search, "v1", LEAVE)

    def broken() -> object:
        yield TRAVEL
        raise Broken("The file ended.")

    with pytest.raises(Broken):
        search.stage(Refresh(key="v2", tick=search.tick(), documents=broken()))  # type: ignore[arg-type]
    assert search.documents("v2", None) == ()
    assert len(ask(search, "v1", "vacation")) > 0
    assert search.sweep({"v1": 1}) == 0


def test_a_deleted_document_is_in_no_version(search: Search) -> None:
    version(search, "v1", LEAVE, TRAVEL)
    version(search, "v2", document("leave.md", "Twenty days of vacation."))
    assert search.delete("leave.md") == 2
    for key in ("v1", "v2"):
        assert "leave.md" not in {hit.document for hit in ask(search, key, "vacation days")}
        assert "leave.md" not in {entry.name for entry in search.documents(key, None)}
        assert search.chunks(key, "leave.md", None) == ()
    assert search.delete("leave.md") == 0
    search.wipe()
    assert {hit.document for hit in ask(search, "v1", "receipts")} == {"travel.md"}


def test_a_refresh_that_began_before_a_deletion_does_not_bring_it_back(search: Search) -> None:
    version(search, "v1", LEAVE)
    tick = search.tick()
    search.delete("leave.md")
    assert search.stage(Refresh(key="v2", tick=tick, documents=[LEAVE, TRAVEL])) == 1
    version(search, "v3", LEAVE)
    assert {entry.name for entry in search.documents("v3", ALL)} == {"leave.md"}
    assert search.documents("v1", ALL) == ()


def test_a_right_that_is_taken_away_is_gone_in_every_version(search: Search) -> None:
    readers = frozenset({"team/a"})
    version(search, "v1", document("a.md", "Alpha once.", readers=("team/a", "team/b")))
    version(search, "v2", document("a.md", "Alpha twice.", readers=("team/b",)))
    assert ask(search, "v1", "alpha", readers) == ()
    assert len(ask(search, "v1", "alpha", frozenset({"team/b"}))) == 1


def test_a_right_that_is_given_opens_nothing_older(search: Search) -> None:
    version(search, "v1", document("a.md", "The secret draft.", readers=("team/a",)))
    version(search, "v2", document("a.md", "The public text.", readers=("everyone",)))
    assert ask(search, "v1", "secret draft", frozenset({"everyone", "team/b"})) == ()
    assert len(ask(search, "v1", "secret draft", frozenset({"everyone", "team/a"}))) == 1
    assert len(ask(search, "v2", "public text", frozenset({"everyone", "team/b"}))) == 1


def test_a_staged_version_that_was_never_named_is_swept(search: Search) -> None:
    version(search, "v1", LEAVE)
    search.stage(Refresh(key="lost", tick=search.tick(), documents=[TRAVEL]))
    assert search.sweep({"v1": 1}) == 1
    assert search.documents("lost", None) == ()
    assert len(search.documents("v1", None)) == 1


WORDS = st.sampled_from(["apple", "pear", "garden", "wall", "seven", "vault", "train", "hotel"])
TEXTS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
READERS = st.lists(st.sampled_from(["everyone", "team/a", "team/b", "key/k"]), max_size=2, unique=True).map(tuple)
CORPUS = st.lists(st.tuples(st.lists(TEXTS, min_size=1, max_size=3), READERS), min_size=1, max_size=6)
CALLER = st.frozensets(st.sampled_from(["everyone", "team/a", "team/b", "key/k"]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(corpus=CORPUS, asked=TEXTS, caller=CALLER, deleted=st.integers(0, 5))
@example(  # as near to the question as each other, but for the last digits of a sum
    corpus=[(["apple"], ()), (["apple apple apple apple apple pear", "apple apple apple apple apple garden"], ("everyone",))],
    asked="pear garden",
    caller=frozenset({"everyone"}),
    deleted=0,
)
def test_sqlite_says_what_the_reference_says(
    tmp_path_factory: pytest.TempPathFactory, corpus: list[tuple[list[str], tuple[str, ...]]], asked: str, caller: frozenset[str],
    deleted: int,
) -> None:  # fmt: skip
    documents = [document(f"d{n}.md", *texts, readers=readers) for n, (texts, readers) in enumerate(corpus)]
    found = []
    for each in (SqliteSearch(tmp_path_factory.mktemp("corpus") / "c.db"), MemorySearch()):
        version(each, "v1", *documents)
        each.delete(f"d{deleted}.md")
        found.append([(h.chunk, h.document, h.rank, h.bm25, h.vector) for h in ask(each, "v1", asked, caller, limit=50)])
        may = {d.name for d in documents if caller & set(d.readers)} - {f"d{deleted}.md"}
        assert {hit[1] for hit in found[-1]} <= may
        assert {entry.name for entry in each.documents("v1", caller)} == may
    assert found[0] == found[1]


SPOKEN = """
connect connected connecting connections relational happy happily the of running runs ran flies dies agreed hopping argue
Straße strasse Überprüfung überprüfungen prüfen Häuser haus Bücher buch größer Ärzte 2026 3.5 e-mail l'été ТЕСТ тесты 日本語
user@example.org naïve don't _under_ A
"""
PARTS = st.lists(st.sampled_from(SPOKEN.split()), min_size=1, max_size=8).map(" ".join)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    corpus=st.lists(st.tuples(st.lists(PARTS, min_size=1, max_size=3), READERS), min_size=1, max_size=6),
    asked=PARTS,
    caller=CALLER,
    deleted=st.integers(0, 5),
)
def test_both_forms_in_sql_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, server: SearchServer, corpus: list[tuple[list[str], tuple[str, ...]]], asked: str,
    caller: frozenset[str], deleted: int,
) -> None:  # fmt: skip
    documents = [document(f"d{n}.md", *texts, readers=readers) for n, (texts, readers) in enumerate(corpus)]
    found = []
    for each in (SqliteSearch(tmp_path_factory.mktemp("corpus") / "c.db"), corpus_on(server)):
        version(each, "v1", *documents[1:])
        version(each, "v2", *documents[:1], kept=tuple(entry.edition for entry in each.documents("v1", None)))
        each.sweep({"v2": 1})
        if deleted < len(documents):
            assert each.delete(f"d{deleted}.md") == 1
        found.append([(each.chunks("v2", d.name, caller), ask(each, "v2", asked, caller, limit=50)) for d in documents])
    assert found[0] == found[1]


def test_deleted_text_is_nowhere_in_the_files(tmp_path: Path) -> None:
    search = SqliteSearch(tmp_path / "corpus.db")
    version(search, "v1", document("gone.md", "The xylophonist Quixandra lives here."), LEAVE)
    assert any(b"Quixandra" in path.read_bytes() for path in tmp_path.iterdir())
    search.delete("gone.md")
    for path in tmp_path.iterdir():
        for trace in (b"Quixandra", b"quixandra", b"xylophonist"):
            assert trace not in path.read_bytes(), path


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    search = SqliteSearch(tmp_path / "corpus.db")
    version(search, "v1", LEAVE)
    (tmp_path / "corpus.db").write_bytes(b"this is no database at all" * 400)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"corpus.db{suffix}").unlink(missing_ok=True)
    with pytest.raises(Broken, match=r"corpus\.db is damaged"):
        ask(search, "v1", "vacation")


def test_another_process_sees_a_change_at_once(tmp_path: Path) -> None:
    writer, reader = SqliteSearch(tmp_path / "corpus.db"), SqliteSearch(tmp_path / "corpus.db")
    version(writer, "v1", LEAVE, TRAVEL)
    assert len(ask(reader, "v1", "vacation")) > 0
    writer.delete("leave.md")
    assert {hit.document for hit in ask(reader, "v1", "vacation")} <= {"travel.md"}


def test_only_its_owner_may_open_the_file(tmp_path: Path) -> None:
    search = SqliteSearch(tmp_path / "corpus.db")
    version(search, "v1", LEAVE)
    assert (tmp_path / "corpus.db").stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(tmp_path / "corpus.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_numpy_and_plain_python_agree() -> None:
    blocks = [(1, [11, 12], pack([1, 0]) + pack([0.6, 0.8])), (2, [21], pack([0, 1])), (3, [31], pack([-1, 0]))]
    for allowed in (frozenset({1, 2, 3}), frozenset({2, 3}), frozenset({9}), frozenset()):
        fast = Matrix(blocks, numpy=True).nearest(pack([1, 0.1]), allowed, 2)
        assert fast == Matrix(blocks, numpy=False).nearest(pack([1, 0.1]), allowed, 2)
    assert Matrix(blocks).nearest(pack([1, 0.1]), frozenset({1, 2, 3}), 2) == [11, 12]
    assert Matrix(blocks).nearest(pack([1, 0, 0]), frozenset({1}), 2) == []
    assert Matrix([]).nearest(pack([1, 0]), frozenset({1}), 2) == []


def stored(url: Secret) -> bytes:
    """Everything that stands in any row of the search tables."""
    with psycopg.connect(url.reveal(), options="-c search_path=search") as conn:
        names = conn.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'search'::regnamespace AND relkind = 'r'"
        ).fetchall()
        data = b""
        for (name,) in names:
            with conn.cursor().copy(f"COPY {name} TO STDOUT (FORMAT binary)".encode()) as copy:
                data += b"".join(bytes(piece) for piece in copy)
    return data


TRACES = (b"Quixandra", b"quixandra", b"xylophonist")


def test_deleted_text_is_in_no_table_and_in_no_file(postgres: Server, url: Secret, server: SearchServer) -> None:
    search = corpus_on(server)
    gone = document("gone.md", "The xylophonist Quixandra lives here.")
    version(search, "v1", LEAVE, gone)
    assert all(trace in stored(url) for trace in (*TRACES, gone.vectors))
    assert postgres.holding(b"Quixandra")
    assert search.delete("gone.md") == 1
    assert not any(trace in stored(url) for trace in (*TRACES, gone.vectors))
    search.wipe()
    assert [trace for trace in (*TRACES, gone.vectors) if postgres.holding(trace)] == []
    assert len(ask(search, "v1", "vacation")) > 0


def test_what_was_swept_is_in_no_file(postgres: Server, server: SearchServer) -> None:
    search = corpus_on(server)
    version(search, "v1", LEAVE)
    search.stage(Refresh(key="lost", tick=search.tick(), documents=[document("lost.md", "The bassoonist Zorblatina.")]))
    assert postgres.holding(b"Zorblatina")
    assert search.sweep({"v1": 1}) == 1
    assert not postgres.holding(b"Zorblatina")


def test_who_cannot_wipe_says_so_and_the_next_one_does(
    postgres: Server, url: Secret, server: SearchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "WIPE_SECONDS", 1)
    search = corpus_on(server)
    version(search, "v1", LEAVE, document("gone.md", "The oboist Wimbledora."))
    with psycopg.connect(url.reveal()) as dump:
        dump.execute("SELECT * FROM search.editions")
        assert search.delete("gone.md") == 1
        with pytest.raises(Unavailable, match="did not answer"):
            search.wipe()
        assert ask(search, "v1", "oboist") == ()
        assert search.sweep({"v1": 1}) == 0
    assert postgres.holding(b"Wimbledora")
    assert search.delete("gone.md") == 0
    search.wipe()
    assert not postgres.holding(b"Wimbledora")


def test_corpora_of_a_server_know_nothing_of_each_other(server: SearchServer) -> None:
    ours, theirs = corpus_on(server), corpus_on(server)
    version(ours, "v1", LEAVE)
    version(theirs, "v1", LEAVE, document("a.md", "Alpha.", readers=("team/a",)))
    version(ours, "v2", document("a.md", "Alpha.", readers=("team/b",)))
    assert ours.delete("leave.md") == 1
    assert ours.sweep({"v1": 1}) == 1
    assert {hit.document for hit in ask(theirs, "v1", "vacation days")} == {"leave.md"}
    assert len(ask(theirs, "v1", "alpha", frozenset({"team/a"}))) == 1
    assert ask(ours, "v1", "vacation") == ()


def test_another_machine_sees_a_change_at_once(url: Secret, server: SearchServer) -> None:
    writer = corpus_on(server)
    version(writer, "v1", LEAVE, TRAVEL)
    with closing(PostgresSearch(url, writer._corpus)) as reader:
        assert len(ask(reader, "v1", "vacation")) > 0
        writer.delete("leave.md")
        assert {hit.document for hit in ask(reader, "v1", "vacation")} <= {"travel.md"}
        version(writer, "v2", LEAVE, kept=tuple(entry.edition for entry in writer.documents("v1", None)))
        assert {hit.document for hit in ask(reader, "v2", "vacation receipts")} == {"leave.md", "travel.md"}


def test_writers_of_a_corpus_take_turns(url: Secret) -> None:
    name, failed = f"corpus-{next(NUMBERS)}", []
    searches = [PostgresSearch(url, name) for _ in range(4)]

    def write(place: int) -> None:
        try:
            own = [document(f"{place}-{n}.md", f"Common words of writer{place} and page{n}.") for n in range(10)]
            version(searches[place], f"v{place}", *own)
            assert searches[place].delete(f"{place}-0.md") == 1
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=write, args=(place,)) for place in range(len(searches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for place, search in enumerate(searches):
        assert {entry.name for entry in search.documents(f"v{place}", ALL)} == {f"{place}-{n}.md" for n in range(1, 10)}
        assert len(ask(search, f"v{place}", "common words", limit=50)) == 9
    for search in searches:
        search.close()


STAGES = """
import sys
from tandem.core.secret import Secret
from tandem.store.postgres_search import PostgresSearch
from tandem.store.search import Chunk, Document, Refresh
chunks = (Chunk(text="The vacation.", start=0, end=13),)
kept = [
    Document(name=f"{n}.md", title="", digest="d", readers=("everyone",), chunks=chunks, vectors=b"", embedder="none")
    for n in range(3)
]
PostgresSearch(Secret(sys.argv[1]), sys.argv[2]).stage(Refresh(key=sys.argv[3], tick=int(sys.argv[4]), documents=kept))
"""


def stages(url: Secret, corpus: str, key: str, tick: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", STAGES, url.reveal(), corpus, key, str(tick)])


def waiting(watch: psycopg.Connection[tuple[int]], statement: str) -> bool:
    """Whether a connection waits for a lock in the middle of such a statement."""
    asked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE %s"
    return bool(watch.execute(asked, (f"{statement}%",)).fetchall())


def test_a_process_killed_while_it_stages_leaves_nothing(url: Secret, server: SearchServer) -> None:
    search = corpus_on(server)
    version(search, "v1", LEAVE)
    with psycopg.connect(url.reveal(), autocommit=True) as watch, psycopg.connect(url.reveal()) as holder:
        holder.execute("LOCK TABLE search.readers IN ACCESS EXCLUSIVE MODE")
        child = stages(url, search._corpus, "v2", search.tick())
        while not waiting(watch, "INSERT INTO readers"):  # its first edition is written
            assert child.poll() is None
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        while waiting(watch, "INSERT INTO readers"):
            watch.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO readers%'")
    assert search.documents("v2", None) == ()
    assert search.sweep({"v1": 1}) == 0
    assert stages(url, search._corpus, "v2", search.tick()).wait() == 0
    assert {entry.name for entry in search.documents("v2", ALL)} == {"0.md", "1.md", "2.md"}
    assert {hit.document for hit in ask(search, "v1", "vacation")} == {"leave.md"}


def test_two_processes_that_stage_the_same_version_make_it_once(url: Secret, server: SearchServer) -> None:
    search = corpus_on(server)
    tick = search.tick()
    with psycopg.connect(url.reveal(), autocommit=True) as watch, psycopg.connect(url.reveal()) as holder:
        holder.execute("LOCK TABLE search.readers IN ACCESS EXCLUSIVE MODE")
        children = [stages(url, search._corpus, "v1", tick) for _ in range(2)]
        while not waiting(watch, "INSERT INTO readers") or not waiting(watch, "SELECT pg_advisory_xact_lock"):
            assert [child.poll() for child in children] == [None, None]
        holder.rollback()
    assert [child.wait() for child in children] == [0, 0]
    assert len(search.documents("v1", None)) == 3
    assert search.sweep({"v1": 1}) == 0


def test_a_process_that_starts_waits_for_nobody_who_stages(url: Secret, server: SearchServer) -> None:
    search = corpus_on(server)
    version(search, "v1", LEAVE)
    with psycopg.connect(url.reveal()) as holder, closing(PostgresSearch(url, search._corpus)) as fresh:
        holder.execute("LOCK TABLE search.editions, search.members, search.readers IN ROW EXCLUSIVE MODE")
        assert {hit.document for hit in ask(fresh, "v1", "vacation")} == {"leave.md"}


def test_a_server_that_is_away_is_told_of_and_found_again(postgres: Server, url: Secret) -> None:
    with closing(corpus_on(url)) as search:
        version(search, "v1", LEAVE)
        before = ask(search, "v1", "vacation")
        postgres.stop()
        try:
            for act in (lambda: ask(search, "v1", "vacation"), search.tick, lambda: search.delete("leave.md")):
                with pytest.raises(Unavailable, match="The search store"):
                    act()
        finally:
            postgres.start()
        assert ask(search, "v1", "vacation") == before
        assert search.delete("leave.md") == 1


def test_a_light_process_may_ask() -> None:
    code = "import sys, tandem.data.corpus.shelf; sys.exit(' '.join({'psycopg', 'numpy', 'sqlalchemy'} & set(sys.modules)) or 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
