"""Tools in the wire formats of both providers: bodies as documented, and what is made of answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from courante.runner.models.answer import StopReason
from courante.runner.models.anthropic import Anthropic
from courante.runner.models.openai import OpenAi
from courante.runner.models.request import Message, ModelRequest, ToolCall, ToolOffer
from courante.runner.models.wire import Connector
from courante.sdk.http.server_events import ServerEvent
from integration.wire import anthropic_answers, openai_answers

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}
CALLS = (ToolCall(id="c1", name="search", arguments='{"q":"tea"}'), ToolCall(id="c2", name="wait", arguments=""))
TALK = (
    Message(role="user", content="Find tea."),
    Message(role="assistant", content="I look.", tool_calls=CALLS),
    Message(role="tool", content='["sencha"]', tool_call_id="c1"),
    Message(role="tool", content="ValueError: no", tool_call_id="c2", is_error=True),
    Message(role="assistant", content="", tool_calls=CALLS[:1]),
    Message(role="tool", content="[]", tool_call_id="c1"),
)
OFFERS = (ToolOffer(name="search", description="Look around.", schema=SCHEMA), ToolOffer(name="wait", schema=SCHEMA))


def request(provider: str) -> ModelRequest:
    return ModelRequest(provider=provider, model="m", messages=TALK, tools=OFFERS)


def test_the_body_for_openai() -> None:
    """Functions with parameters; calls with their text; a result by the id of its call."""
    body = OpenAi().body(request("openai"))
    search = {"type": "function", "function": {"name": "search", "description": "Look around.", "parameters": SCHEMA}}
    assert body["tools"] == [search, {"type": "function", "function": {"name": "wait", "parameters": SCHEMA}}]
    first = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q":"tea"}'}}
    second = {"id": "c2", "type": "function", "function": {"name": "wait", "arguments": ""}}
    assert body["messages"] == [
        {"role": "user", "content": "Find tea."},
        {"role": "assistant", "content": "I look.", "tool_calls": [first, second]},
        {"role": "tool", "tool_call_id": "c1", "content": '["sencha"]'},
        {"role": "tool", "tool_call_id": "c2", "content": "ValueError: no"},
        {"role": "assistant", "content": None, "tool_calls": [first]},
        {"role": "tool", "tool_call_id": "c1", "content": "[]"},
    ]


def test_the_body_for_anthropic() -> None:
    """Blocks; all results of an answer are one turn of the user."""
    body = Anthropic().body(request("anthropic"))
    search = {"name": "search", "description": "Look around.", "input_schema": SCHEMA}
    assert body["tools"] == [search, {"name": "wait", "input_schema": SCHEMA}]
    first = {"type": "tool_use", "id": "c1", "name": "search", "input": {"q": "tea"}}
    told = {"type": "tool_result", "tool_use_id": "c1"}
    assert body["messages"] == [
        {"role": "user", "content": "Find tea."},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                first,
                {"type": "tool_use", "id": "c2", "name": "wait", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {**told, "content": '["sencha"]'},
                {"type": "tool_result", "tool_use_id": "c2", "content": "ValueError: no", "is_error": True},
            ],
        },
        {"role": "assistant", "content": [first]},
        {"role": "user", "content": [{**told, "content": "[]"}]},
    ]


@pytest.mark.parametrize("connector", [OpenAi(), Anthropic()])
def test_without_tools_a_body_says_nothing_of_them(connector: Connector) -> None:
    """The field is left out."""
    bare = ModelRequest(provider="openai", model="m", messages=TALK[:1])
    assert "tools" not in connector.body(bare)


def openai_whole() -> dict[str, Any]:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q":"tea"}'}},
        {"id": "c2", "type": "function", "function": {"name": "wait", "arguments": ""}},
    ]
    return openai_answers.completion(None, finish_reason="tool_calls", tool_calls=calls)


def used(id: str, name: str, **given: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": given}


def anthropic_whole() -> dict[str, Any]:
    return anthropic_answers.message(used("c1", "search", q="tea"), used("c2", "wait"), stop_reason="tool_use")


@pytest.mark.parametrize(
    ("connector", "value", "second"),
    [(OpenAi(), openai_whole(), ""), (Anthropic(), anthropic_whole(), "{}")],
)
def test_calls_of_a_whole_answer(connector: Connector, value: dict[str, Any], second: str) -> None:
    """By id, name and arguments as text, in one form from both."""
    answer = connector.read(request("x"), json.dumps(value).encode())
    assert answer.stop_reason is StopReason.TOOLS
    assert answer.tool_calls == (CALLS[0], ToolCall(id="c2", name="wait", arguments=second))


def openai_chunk(**delta: Any) -> str:
    reason = "tool_calls" if not delta else None
    return json.dumps({"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


OPENAI_STREAM = [
    openai_chunk(role="assistant", content=None),
    openai_chunk(
        tool_calls=[{"index": 0, "id": "c1", "type": "function", "function": {"name": "search", "arguments": ""}}]
    ),
    openai_chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"q":'}}]),
    openai_chunk(
        tool_calls=[{"index": 1, "id": "c2", "type": "function", "function": {"name": "wait", "arguments": ""}}]
    ),
    openai_chunk(tool_calls=[{"index": 0, "function": {"arguments": '"tea"}'}}]),
    openai_chunk(),
]
ANTHROPIC_STREAM: list[dict[str, Any]] = [
    {"type": "message_start", "message": anthropic_answers.message(stop_reason=None)},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I look."}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "c1", "name": "search", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"q":'}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '"tea"}'}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "c2", "name": "wait", "input": {}},
    },
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 10}},
    {"type": "message_stop"},
]


@pytest.mark.parametrize(
    ("connector", "events", "text"),
    [(OpenAi(), OPENAI_STREAM, ""), (Anthropic(), list(map(json.dumps, ANTHROPIC_STREAM)), "I look.")],
)
def test_calls_of_a_stream(connector: Connector, events: list[str], text: str) -> None:
    """Put together piece by piece, also where those of several calls are mixed."""
    stream = connector.stream()
    pieces = [stream.take(ServerEvent("", event)) for event in events]
    answer = stream.answer(request("x"))
    assert stream.is_complete
    assert ("".join(pieces), answer.text, answer.stop_reason) == (text, text, StopReason.TOOLS)
    assert answer.tool_calls == CALLS
