"""LlamaIndex, unmodified, as an application uses it. `drive.py` says how it is asked; it runs in the clients' environment."""

from __future__ import annotations

import asyncio
import base64 as base
import sys
from typing import Any

from drive import serve
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ImageBlock, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field

URL, KEY = sys.argv[1:3]
LOOP = asyncio.new_event_loop()
"""One for all calls: the client keeps its connections between them."""


class Risk(BaseModel):
    """How risky a tumour is."""

    radius: float = Field(description="The radius")
    verdict: str = Field(description="One sentence")


def weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"fine in {city}"


def clock(zone: str) -> str:
    """Tells the time of a zone."""
    return f"noon in {zone}"


def model(name: str, **more: Any) -> OpenAILike:
    given = {"api_base": URL, "api_key": KEY, "max_retries": 0, "max_tokens": 200, "context_window": 100_000, **more}
    return OpenAILike(model=name, is_chat_model=True, is_function_calling_model=True, **given)


def plain(endpoint: str, text: str, **more: Any) -> Any:
    return shown(model(endpoint, **more).chat([ChatMessage(role="system", content="Be brief."), ChatMessage(content=text)]))


def complete(endpoint: str, text: str) -> Any:
    """By the method of completions, which LlamaIndex turns into a chat."""
    return {"text": model(endpoint).complete(text).text}


def later(endpoint: str, text: str) -> Any:
    """By the asynchronous half of the client."""
    return shown(LOOP.run_until_complete(model(endpoint).achat([ChatMessage(content=text)])))


def stream(endpoint: str, text: str, usage: bool) -> Any:
    more: dict[str, Any] = {"additional_kwargs": {"stream_options": {"include_usage": True}}} if usage else {}
    answers = list(model(endpoint, **more).stream_chat([ChatMessage(content=text)]))
    said = next(answer for answer in reversed(answers) if answer.message.content)
    return {**shown(answers[-1]), "text": said.message.content, "pieces": [answer.delta or "" for answer in answers]}


def tools(endpoint: str, text: str, streamed: bool, required: bool, parallel: bool) -> Any:
    """The model's calls of tools, and what it says when it has heard their results; not `parallel` is the client's default."""
    asked = [FunctionTool.from_defaults(fn=weather), FunctionTool.from_defaults(fn=clock)]
    llm = model(endpoint)
    first = ChatMessage(content=text)
    if streamed:
        answers = llm.stream_chat_with_tools(asked, user_msg=first, tool_required=required, allow_parallel_tool_calls=parallel)
        answer = list(answers)[-1]
    else:
        answer = llm.chat_with_tools(asked, user_msg=first, tool_required=required, allow_parallel_tool_calls=parallel)
    calls = llm.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
    made = {"calls": [{"name": call.tool_name, "args": call.tool_kwargs, "id": call.tool_id} for call in calls]}
    turns = [first, answer.message]
    for call in calls:
        (one,) = [one for one in asked if one.metadata.name == call.tool_name]
        more = {"tool_call_id": call.tool_id}
        turns.append(ChatMessage(role="tool", content=str(one.call(**call.tool_kwargs)), additional_kwargs=more))
    return [made, shown(llm.chat_with_tools(asked, chat_history=turns))]


def structured(endpoint: str, text: str, by_form: bool) -> Any:
    """An instance of a class, by `response_format` (`by_form`) or by a tool."""
    llm = model(endpoint, should_use_structured_outputs=by_form)
    made = llm.structured_predict(Risk, PromptTemplate("{text}"), text=text)
    return made.model_dump()


def picture(endpoint: str, text: str, base64: str) -> Any:
    blocks = [TextBlock(text=text), ImageBlock(image=base.b64decode(base64), image_mimetype="image/png")]
    return shown(model(endpoint).chat([ChatMessage(role="user", blocks=blocks)]))


def shown(answer: ChatResponse) -> dict[str, Any]:
    usage = getattr(answer.raw, "usage", None)
    return {"text": answer.message.content, "usage": None if usage is None else usage.model_dump()}


if __name__ == "__main__":
    serve({deed.__name__: deed for deed in (plain, complete, later, stream, tools, structured, picture)})
