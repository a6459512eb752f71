"""The contract of Search, over every implementation; and what the one in SQLite promises beside."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tandem.core.errors import Broken
from tandem.data.corpus import hashed
from tandem.store.memory_search import MemorySearch
from tandem.store.search import Chunk, Document, Hit, Query, Refresh, Search, chunk_id
from tandem.store.sqlite_search import SqliteSearch
from tandem.store.vectors import Matrix, pack

ALL = frozenset({"everyone"})
Make = Callable[[], Search]


@pytest.fixture(params=["sqlite", "memory"])
def search(request: pytest.FixtureRequest, tmp_path: Path) -> Search:
    return SqliteSearch(tmp_path / "corpus.db") if request.param == "sqlite" else MemorySearch()


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
