"""LangChain, unmodified, as an application uses it. `drive.py` says how it is asked; it runs in the clients' environment."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import tiktoken
from drive import serve
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

URL, KEY = sys.argv[1:3]
LOOP = asyncio.new_event_loop()
"""One for all calls: the client keeps its connections between them."""


class Risk(BaseModel):
    """How risky a tumour is."""

    radius: float = Field(description="The radius")
    verdict: str = Field(description="One sentence")


@tool
def weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"fine in {city}"


@tool
def clock(zone: str) -> str:
    """Tells the time of a zone."""
    return f"noon in {zone}"


def model(name: str, **more: Any) -> ChatOpenAI:
    given = {"base_url": URL, "api_key": KEY, "max_retries": 0, "max_tokens": 200, **more}
    return ChatOpenAI(model=name, **given)


def plain(endpoint: str, text: str, **more: Any) -> Any:
    return shown(model(endpoint, **more).invoke([SystemMessage("Be brief."), HumanMessage(text)]))


def later(endpoint: str, text: str) -> Any:
    """The same by the asynchronous half of the client."""
    return shown(LOOP.run_until_complete(model(endpoint).ainvoke(text)))


def later_stream(endpoint: str, text: str) -> Any:
    async def pieces() -> list[Any]:
        return [chunk async for chunk in model(endpoint, stream_usage=True).astream(text)]

    return shown(summed(LOOP.run_until_complete(pieces())))


def stream(endpoint: str, text: str, usage: bool) -> Any:
    more = {"stream_usage": True} if usage else {}
    chunks: list[Any] = list(model(endpoint, **more).stream(text))
    return {"pieces": [chunk.text for chunk in chunks], **shown(summed(chunks))}


def tools(endpoint: str, text: str, streamed: bool, choice: str | None, parallel: bool | None = None) -> Any:
    """The model's calls of tools, and what it says when it has heard their results."""
    llm, offered = model(endpoint), [weather, clock]
    turns: list[BaseMessage] = [HumanMessage(text)]
    said: list[Any] = []
    for caller in (llm.bind_tools(offered, tool_choice=choice, parallel_tool_calls=parallel), llm.bind_tools(offered)):
        answer: Any = summed(list(caller.stream(turns))) if streamed else caller.invoke(turns)
        said.append(shown(answer))
        turns.append(answer)
        by_name = {one.name: one for one in offered}
        turns += [by_name[call["name"]].invoke(call) for call in answer.tool_calls]
    return said


def structured(endpoint: str, text: str, method: str, streamed: bool) -> Any:
    bound = model(endpoint).with_structured_output(Risk, method=method, include_raw=True)
    made: Any = None
    if streamed:
        for piece in bound.stream(text):
            made = piece if made is None else made + piece
    else:
        made = bound.invoke(text)
    return {"parsed": made["parsed"].model_dump(), "raw": shown(made["raw"])}


def picture(endpoint: str, text: str, base64: str, form: str) -> Any:
    """An image, as OpenAI writes it (`url`) or as LangChain does (`block`)."""
    image = (
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64}"}}
        if form == "url"
        else {"type": "image", "base64": base64, "mime_type": "image/png"}
    )
    return shown(model(endpoint).invoke([HumanMessage([{"type": "text", "text": text}, image])]))


def embed(endpoint: str, texts: list[str], as_tokens: bool) -> Any:
    """Vectors of texts; `as_tokens` is what the client does by default, with an encoding that needs no network."""
    if as_tokens:
        ranks = {bytes([byte]): byte for byte in range(256)}
        encoding = tiktoken.Encoding(name="cl100k_base", pat_str=r"(?s).", mergeable_ranks=ranks, special_tokens={})
        tiktoken.registry.ENCODINGS["cl100k_base"] = encoding
    client = OpenAIEmbeddings(model=endpoint, base_url=URL, api_key=KEY, max_retries=0, check_embedding_ctx_length=as_tokens)
    return {"documents": client.embed_documents(texts), "query": client.embed_query(texts[0])}


def summed(chunks: list[Any]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


def shown(message: AIMessage) -> dict[str, Any]:
    return {
        "text": message.text,
        "calls": [{"name": call["name"], "args": call["args"], "id": call["id"]} for call in message.tool_calls],
        "spoilt": len(message.invalid_tool_calls),
        "usage": message.usage_metadata,
        "finish": message.response_metadata.get("finish_reason"),
        "model": message.response_metadata.get("model_name"),
    }


if __name__ == "__main__":
    serve({deed.__name__: deed for deed in (plain, later, later_stream, stream, tools, structured, picture, embed)})
