"""Answers from documents through a whole door: rights, citations, streams, traces; who writes and what is checked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import msgspec
import openai
import pytest
from tests.gateway.conftest import KEY, House, house

from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Invalid
from tandem.core.principal import Principal
from tandem.data.corpus import hashed
from tandem.data.corpus.chunk import cut
from tandem.data.corpus.quote import cite, extract, locate
from tandem.data.corpus.read import read
from tandem.data.corpus.shelf import Shelf
from tandem.decisions.answer import Answers
from tandem.decisions.write import SILENT, read_written
from tandem.gateway.snapshot import Served
from tandem.governance.digest import PEPPER, digest
from tandem.store.search import Document, Hit, Refresh
from tandem.store.vault import Vault

LEAVE = """# Leave

## Vacation

Every employee has thirty days of vacation in a calendar year. Days that are left expire on 31 March.

## Sickness

A certificate is needed from the fourth day of an illness.
"""
CLAIMS = "Fraud reviews of claims above 5,000 euros are done by the special unit in Oslo."
SECRET = "The merger with Northwind is signed on the ninth of May."
OTHER = Principal(id="key_2", name="other", team="claims")
LENT = Principal(id="key_3", name="lent", team="risk", endpoints=("help", "written"))


def document(name: str, text: str, *readers: str) -> Document:
    chunks = cut(read(name, text.encode()), characters=300)
    vectors = b"".join(hashed.embed(chunk.text) for chunk in chunks)
    return Document(
        name=name,
        title=name,
        digest=f"sha256:{len(text):064x}",
        readers=readers,
        chunks=chunks,
        vectors=vectors,
        embedder="hashed-v1",
    )


def served(version: int, key: str, team: str = "default") -> Served:
    meta = {"store": key, "embedder": "hashed-v1", "chunker": "x", "documents": 3, "chunks": 3}
    return Served(
        ref=f"index/policies@{version}",
        members="",
        digest=f"sha256:{version}",
        meta=msgspec.json.encode(meta),
        attributes={"team": team},
    )


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[House]:
    shelf = Shelf(tmp_path / "search")
    corpus = shelf.corpus("policies")
    documents = [
        document("leave.md", LEAVE, "everyone"),
        document("claims.txt", CLAIMS, "team/claims"),
        document("secret.txt", SECRET),
    ]
    corpus.stage(Refresh(key="k1", tick=corpus.tick(), documents=documents))
    corpus.settle("k1")
    async with house(tmp_path, {"chat": Answers(shelf)}) as here:
        pepper = Vault(bytes(32)).derive(PEPPER)
        here.publisher.write(None, 2, [(digest(pepper, "tdm_other"), OTHER), (digest(pepper, "tdm_lent"), LENT)])
        route = (Target(target="index/policies@1"),)
        here.publish(
            served={"index/policies@1": served(1, "k1")},
            endpoints={
                **here.snapshot.endpoints,
                "help": Endpoint(name="help", kind="chat", route=route),
                "written": Endpoint(name="written", kind="chat", route=route, model="mock/gpt-4o-mini"),
                "assisted": Endpoint(name="assisted", kind="chat", route=route, model="assistant"),
                "looped": Endpoint(name="looped", kind="chat", route=route, model="help"),
                "gone": Endpoint(name="gone", kind="chat", route=route, model="nobody"),
            },
        )
        yield here


async def ask(here: House, text: str, endpoint: str = "help", key: str = KEY, **more: object) -> httpx2.Response:
    body = {"model": endpoint, "messages": [{"role": "user", "content": text}], **more}
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await client.post(f"{here.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})


def draft(answer: str, *citations: tuple[int, str]) -> str:
    """An order to the mock to write exactly this."""
    told = {"answer": answer, "citations": [{"source": source, "quote": quote} for source, quote in citations]}
    return "x-mock-reply: " + json.dumps(told)


async def test_the_extractive_model_answers_and_says_what_it_is(place: House) -> None:
    reply = (await ask(place, "How many days of vacation does an employee have?")).json()
    message = reply["choices"][0]["message"]
    assert reply["model"] == "extractive"
    assert "extractive model; no language model wrote this answer" in message["content"]
    assert "“Every employee has thirty days of vacation in a calendar year.” [1]" in message["content"]
    first = message["citations"][0]
    assert LEAVE[first["start"] : first["end"]] == first["quote"]
    assert (first["document"], first["heading"], first["verified"]) == ("leave.md", "Leave › Vacation", True)
    assert reply["usage"]["total_tokens"] == 0


async def test_what_the_documents_do_not_say_is_not_said(place: House) -> None:
    message = (await ask(place, "Who won the chess championship in Reykjavik?")).json()["choices"][0]["message"]
    assert (message["content"], message["citations"]) == (SILENT, [])


@pytest.mark.parametrize(("key", "knows"), [(KEY, False), ("tdm_other", True), ("tdm_lent", False)])
async def test_an_answer_keeps_to_its_callers_rights(place: House, key: str, knows: bool) -> None:
    for question in ("Who does fraud reviews of claims above 5,000 euros?", "special unit in Oslo"):
        text = (await ask(place, question, key=key)).text
        assert ("special unit" in text) == knows
        assert ("claims.txt" in text) == knows
    assert "Northwind" not in (await ask(place, "When is the merger with Northwind signed?", key=key)).text


async def test_an_unmodified_client_reads_it_whole_and_as_a_stream(place: House) -> None:
    async with openai.AsyncOpenAI(base_url=f"{place.url}/v1", api_key=KEY) as client:
        messages = [{"role": "user", "content": "When do vacation days expire?"}]
        whole = await client.chat.completions.create(model="help", messages=messages)  # type: ignore[call-overload]
        said, citations, usage = "", None, None
        options = {"include_usage": True}
        stream = await client.chat.completions.create(model="help", messages=messages, stream=True, stream_options=options)  # type: ignore[call-overload]
        async for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                said += choice.delta.content or ""
                citations = getattr(choice.delta, "citations", None) or citations
        answered = await client.responses.create(model="help", input="When do vacation days expire?")
        async with client.responses.stream(model="help", input="When do vacation days expire?") as running:
            streamed = await running.get_final_response()
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="help", input="When?", previous_response_id=answered.id)
    assert refused.value.param == "previous_response_id"
    assert answered.output_text == streamed.output_text == whole.choices[0].message.content
    assert said == whole.choices[0].message.content
    assert "31 March" in said
    assert citations == whole.choices[0].message.citations
    assert usage is not None


async def test_the_trace_tells_what_was_shown_and_never_what_it_says(place: House) -> None:
    reply = await ask(place, "When do vacation days expire?")
    place.move()
    told = msgspec.json.encode(place.traces.find(reply.headers["x-tandem-trace-id"], team=None)).decode()
    assert '"index/policies@1"' in told
    assert '"retrieval"' in told
    assert "chk_" in told
    for words in ("expire", "31 March", "leave.md"):
        assert words not in told


async def test_a_model_writes_through_the_door_and_is_paid_for(place: House) -> None:
    question = draft("Thirty days a year [1].", (1, "thirty days of vacation"))
    reply = await ask(place, question + "\nvacation days of an employee", "written", key="tdm_lent")
    message = reply.json()["choices"][0]["message"]
    assert message["content"] == "Thirty days a year [1]."
    assert message["citations"][0]["quote"] == "thirty days of vacation"
    assert reply.json()["model"] == "gpt-4o-mini"
    assert reply.json()["usage"]["prompt_tokens"] > 0
    place.move()
    trace = reply.headers["x-tandem-trace-id"]
    told = msgspec.json.encode(place.traces.find(trace, team=None)).decode()
    assert "mock/gpt-4o-mini" in told
    assert "answer from documents" in told


async def test_a_quotation_that_is_nowhere_is_no_citation(place: House) -> None:
    question = draft("Forty days [1]. They expire on 31 March [1].", (1, "forty days of vacation each year")) + "\nvacation days"
    message = (await ask(place, question, "written")).json()["choices"][0]["message"]
    assert (message["content"], message["citations"]) == (SILENT, [])


async def test_a_model_that_talks_is_not_believed(place: House) -> None:
    question = "x-mock-reply: Of course! Thirty days, I am sure.\nvacation days"
    assert (await ask(place, question, "written")).json()["choices"][0]["message"]["content"] == SILENT


async def test_an_endpoint_may_write_and_a_loop_is_refused(place: House) -> None:
    question = draft("Thirty days [1].", (1, "thirty days of vacation")) + "\nvacation days of an employee"
    assert (await ask(place, question, "assisted")).json()["choices"][0]["message"]["content"] == "Thirty days [1]."
    looped = await ask(place, "vacation days of an employee", "looped")
    assert looped.status_code == 400
    assert "written by another one" in looped.json()["error"]["message"]
    assert (await ask(place, "vacation days of an employee", "gone")).status_code == 404


async def test_a_version_is_named_directly_only_with_the_right_to(place: House) -> None:
    assert (await ask(place, "vacation days of an employee", "index/policies@1")).status_code == 200
    assert (await ask(place, "vacation days", "index/policies@1", key="tdm_other")).status_code == 403
    assert (await ask(place, "vacation days", "index/policies@9")).status_code == 404


@pytest.mark.parametrize(
    "messages", [[], [{"role": "system", "content": "x"}], [{"role": "user", "content": " "}], [{"role": "user"}], [5], "x"]
)
async def test_without_a_question_there_is_no_answer(place: House, messages: object) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        body = {"model": "help", "messages": messages}
        reply = await client.post(f"{place.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "messages"


async def test_several_answers_are_refused(place: House) -> None:
    assert (await ask(place, "vacation days", n=2)).json()["error"]["param"] == "n"


async def test_a_deleted_document_is_in_the_next_answer_no_more(place: House) -> None:
    assert "thirty" in (await ask(place, "vacation days of an employee")).text
    Shelf(place.home / "search").corpus("policies").delete("leave.md")
    assert (await ask(place, "vacation days of an employee")).json()["choices"][0]["message"]["content"] == SILENT


async def test_guards_look_at_the_question_and_at_the_answer(place: House) -> None:
    corpus = Shelf(place.home / "search").corpus("policies")
    card = document("card.txt", "The card of the office in Oslo is 4111 1111 1111 1111 at the bank.", "everyone")
    corpus.stage(Refresh(key="k2", tick=corpus.tick(), documents=[card]))
    meta = msgspec.json.encode({"guards": [{"detector": "card", "action": "mask", "on": ["in", "out"]}]})
    guard = Served(ref="policy/cards@1", members="", digest="sha256:g", meta=meta, attributes={"team": "default"})
    endpoint = Endpoint(name="guarded", kind="chat", route=(Target(target="index/policies@2"),), guards="policy/cards@production")
    place.publish(
        served={"index/policies@2": served(2, "k2")},
        endpoints={"guarded": endpoint},
        policies={"policy/cards@production": guard},
    )
    for stream in (False, True):
        text = (await ask(place, "What is the card of the office in Oslo?", "guarded", stream=stream)).text
        assert "Oslo" in text
        assert "4111" not in text


# --- the parts, without a door


def hit(text: str, rank: int = 1, start: int = 0) -> Hit:
    return Hit(
        chunk=f"chk_{rank}",
        document="d",
        title="D",
        heading="",
        page=None,
        start=start,
        end=start + len(text),
        text=text,
        rank=rank,
    )


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("the “big” one", True),
        ("the  'big'\none", False),
        ('"big" one', True),
        ("The big one", False),
        ("big one", False),
        ("", False),
        (" ", False),
    ],
)
def test_a_quotation_holds_word_for_word(quote: str, found: bool) -> None:
    text = 'It is the\n  "big"\tone.'
    place = locate(quote, text)
    assert (place is not None) == found
    if place is not None:
        assert "".join(text[place[0] : place[1]].split()) == "".join(quote.replace("“", '"').replace("”", '"').split())


def test_a_citation_counts_in_the_whole_document() -> None:
    citation = cite("thirty days of  vacation", hit("They have thirty days of vacation.", start=100))
    assert citation is not None
    assert (citation.start, citation.end, citation.quote) == (110, 133, "thirty days of vacation")
    assert cite("thirty", hit("They have thirty days.")) is None


def test_marks_follow_their_quotations() -> None:
    hits = [hit("Alpha beta gamma delta.", 1), hit("Epsilon zeta eta theta.", 2)]
    told = {
        "answer": 'First [2]. Second [1, 3]. Third [3]. It says "nothing like this at all" [2]. Nothing marked.',
        "citations": [
            {"source": 1, "quote": "beta gamma delta"},
            {"source": 2, "quote": "Epsilon zeta eta"},
            {"source": 3, "quote": "no such source here"},
        ],
    }
    written = read_written("Sure:\n```json\n" + json.dumps(told) + "\n```", hits)
    assert written.text == "First [1]. Second [2]. It says [quotation removed] [1]. Nothing marked."
    assert [citation.hit.rank for citation in written.citations] == [2, 1]
    assert written.unverified == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"answer": 5}', '{"answer": "x", "citations": [{"source": "y"}]}', "{" * 5000])
def test_any_draft_can_be_read(text: str) -> None:
    assert read_written(text, [hit("Alpha beta gamma.")]).text == SILENT


def test_the_extractive_model_weighs_rare_words() -> None:
    hits = [hit("The office in Oslo opens at nine. The office in Bergen opens at ten. The office has a kitchen.")]
    assert [citation.quote for citation in extract("When does the Bergen office open?", hits)] == [
        "The office in Bergen opens at ten."
    ]
    assert extract("What is the capital of Mongolia?", hits) == ()
    assert extract("", hits) == ()
    assert extract("office", []) == ()


def test_an_index_route_is_a_chat_route_and_nothing_else() -> None:
    from tandem.gateway.check import check_endpoint

    good = Endpoint(name="help", kind="chat", route=(Target(target="index/policies@production"),), model="mock/m")
    check_endpoint(good)
    for changed in (
        replace(good, kind="predict"),
        replace(good, route=(*good.route, Target(target="mock/m"))),
        replace(good, route=(Target(target="mock/m"),)),
        replace(good, route=(Target(target="index/policies@3"),)),
        replace(good, model="index/policies@production"),
    ):
        with pytest.raises(Invalid):
            check_endpoint(changed)
