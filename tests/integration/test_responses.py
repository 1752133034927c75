"""OpenAI's responses: what is asked by them, and what is made of their answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from courante.runner.models.answer import ModelAnswer, StopReason
from courante.runner.models.request import Message, ModelRequest, ToolCall, ToolOffer
from courante.runner.models.responses import Responses
from courante.runner.models.wire import StreamCut
from courante.sdk.outcomes.failures import classify
from courante.sdk.spending.usage import Usage
from courante.sdk.step_error import StepError
from courante.sdk.user_errors import HttpError
from integration.wire.calls import KEY, OPENAI, Called, call, hello
from integration.wire.response_answers import MODEL, REASONING, event, message, response, stream
from integration.wire.response_answers import call as called_tool
from integration.wire.server import Asked, Reply

pytestmark = pytest.mark.anyio
SHAPE = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
OFFER = ToolOffer(name="look", description="Look around.", schema=SHAPE)
TOOL = {"type": "function", "name": "look", "description": "Look around.", "parameters": SHAPE, "strict": False}
USER = {"role": "user", "content": "Hello"}
ASKED: dict[str, Any] = {"model": "gpt-6.1-sol", "temperature": None, "max_tokens": 9_000, "tools": (OFFER,)}
ALWAYS: dict[str, Any] = {"store": False, "include": ["reasoning.encrypted_content"]}
SENT: dict[str, Any] = {"model": "gpt-6.1-sol", "tools": [TOOL], "max_output_tokens": 9_000, **ALWAYS}
LOOKED = called_tool("c1", "look", '{"n": 3}')
WORDS = 'Return only valid JSON that fits this JSON Schema:\n{"type":"array"}'
PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}},
    {"type": "input_file", "file_id": "f"},
]
WRITTEN: list[dict[str, Any]] = [
    {"type": "input_text", "text": "What is this?"},
    {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "low"},
    {"type": "input_file", "file_id": "f"},
]


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({}, {**SENT, "input": [USER]}),
        (
            {"system": "Be brief.", "stream": True, "content": PARTS},
            {
                **SENT,
                "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": WRITTEN}],
                "stream": True,
            },
        ),
        (
            {"extra": {"reasoning_effort": "high", "max_completion_tokens": 70, "service_tier": "flex"}},
            {**SENT, "max_output_tokens": 70, "input": [USER], "reasoning": {"effort": "high"}, "service_tier": "flex"},
        ),
        (
            {
                "wants_json": True,
                "schema": SHAPE,
                "extra": {
                    "verbosity": "low",
                    "text": {"other": 1},
                    "reasoning_effort": "low",
                    "reasoning": {"summary": "auto"},
                    "include": ["file_search_call.results", "reasoning.encrypted_content"],
                    "tool_choice": {"type": "function", "function": {"name": "look"}},
                },
            },
            {
                **SENT,
                "input": [USER],
                "text": {
                    "format": {"type": "json_schema", "name": "answer", "schema": SHAPE},
                    "verbosity": "low",
                    "other": 1,
                },
                "reasoning": {"effort": "low", "summary": "auto"},
                "include": ["reasoning.encrypted_content", "file_search_call.results"],
                "tool_choice": {"type": "function", "name": "look"},
            },
        ),
        (
            {"extra": {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SHAPE}}}},
            {**SENT, "input": [USER], "text": {"format": {"type": "json_schema", "name": "x", "schema": SHAPE}}},
        ),
        (
            {"stop": (), "extra": {"seed": None, "tool_choice": "required", "text": None, "include": None}},
            {name: value for name, value in SENT.items() if name != "include"}
            | {"input": [USER], "tool_choice": "required"},
        ),
        (
            {"wants_json": True, "extra": {"response_format": None}},
            {**SENT, "input": [{"role": "system", "content": "Return only valid JSON"}, USER]},
        ),
        (
            {"wants_json": True, "schema": SHAPE},
            {
                **SENT,
                "input": [USER],
                "text": {"format": {"type": "json_schema", "name": "answer", "schema": SHAPE}},
            },
        ),
        (
            {"wants_json": True},
            {
                **SENT,
                "input": [{"role": "system", "content": "Return only valid JSON"}, USER],
                "text": {"format": {"type": "json_object"}},
            },
        ),
        (
            {"wants_json": True, "schema": {"type": "array"}, "tools": (), "model": "gpt-5-pro"},
            {
                "model": "gpt-5-pro",
                "max_output_tokens": 9_000,
                "input": [{"role": "system", "content": WORDS}, USER],
                **ALWAYS,
            },
        ),
    ],
)
async def test_bodies(fields: dict[str, Any], body: dict[str, Any]) -> None:
    """Exactly what the format has: nothing is stored at the provider, and tools are not strict."""
    called, server = await call(OPENAI, hello, **{**ASKED, **fields})
    assert called.told.text == "Hi"
    (asked,) = server.asked
    assert (asked.path, asked.body) == ("/v1/responses", body)
    assert asked.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stop": ("END",)}, "'gpt-6.1-sol' with tools is asked by OpenAI's responses, which do not know stop: leave"),
        ({"extra": {"stop": "END", "seed": 7}}, "which do not know stop, seed: leave it out"),
        ({"extra": {"n": 2}, "tools": (), "model": "o3-pro"}, "'o3-pro' is asked by OpenAI's responses, which do not"),
    ],
)
async def test_what_has_no_words_here_is_not_sent(fields: dict[str, Any], said: str) -> None:
    """OpenAI would refuse it, and not say what to do. No other try would help."""
    called, server = await call(OPENAI, hello, **{**ASKED, **fields})
    assert isinstance(called.error, StepError)
    assert said in str(called.error)
    assert (called.error.type, classify(called.error).is_final) == ("CONFIG_INVALID", True)
    assert (server.asked, called.may_have_taken) == ([], False)


def test_turns() -> None:
    """Those of this format go back as they came, others in its words; a result stands by its call."""
    looked = ToolCall(id="c1", name="look", arguments="{}")
    items = [REASONING, LOOKED]
    turns = (
        Message(role="user", content="Hello"),
        Message(role="assistant", content="I look.", tool_calls=(looked,), kept={"openai": {"reasoning_content": "x"}}),
        Message(role="tool", content="nothing", tool_call_id="c1"),
        Message(role="assistant", content="", tool_calls=(looked,), kept={"responses": {"output": items}}),
        Message(role="tool", content="tea", tool_call_id="c1"),
    )
    request = ModelRequest(provider=OPENAI, messages=turns, model="gpt-6-astra", tools=(OFFER,))
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    given = {"type": "function_call_output", "call_id": "c1"}
    said = [{"role": "assistant", "content": "I look."}, call, {**given, "output": "nothing"}]
    assert Responses().body(request)["input"] == [USER, *said, *items, {**given, "output": "tea"}]


async def answered(*output: dict[str, Any], **fields: Any) -> Called:
    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.json(response(*output, **fields))

    return (await call(OPENAI, give, **ASKED))[0]


@pytest.mark.parametrize(
    ("output", "fields", "text", "reason"),
    [
        ([message("H", "i")], {}, "Hi", StopReason.END),
        ([REASONING, message("Hi")], {}, "Hi", StopReason.END),
        ([message(refusal="No.")], {}, "No.", StopReason.REFUSAL),
        ([REASONING, LOOKED], {}, "", StopReason.TOOLS),
        ([message("H")], {"incomplete_details": {"reason": "max_output_tokens"}}, "H", StopReason.LENGTH),
        ([], {"incomplete_details": {"reason": "content_filter"}}, "", StopReason.REFUSAL),
    ],
)
async def test_whole_answers(output: Any, fields: Any, text: str, reason: StopReason) -> None:
    """Text, usage, model and reason come in the one form of all providers."""
    answer = (await answered(*output, **fields)).told
    assert (answer.text, answer.stop_reason, answer.model, answer.provider) == (text, reason, MODEL, OPENAI)
    assert answer.usage == Usage(input_tokens=19, output_tokens=10, cached_tokens=4, written_tokens=3)


async def streamed(content: bytes) -> Called:
    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.events(content, 7)

    return (await call(OPENAI, give, stream=True, **ASKED))[0]


@pytest.mark.parametrize("is_told_at_the_end", [True, False])
async def test_streams(is_told_at_the_end: bool) -> None:
    """The pieces in order; the whole text, the calls and the usage at the end, wherever items were told."""
    called = await streamed(stream("I ", "look.", calls=(LOOKED,), is_told_at_the_end=is_told_at_the_end))
    whole = (await answered(REASONING, message("I look."), LOOKED)).told
    assert [piece for piece in called.pieces if piece] == ["I ", "look."]
    assert called.told == whole
    assert whole.tool_calls == (ToolCall(id="c1", name="look", arguments='{"n": 3}'),)
    assert whole.kept == {"responses": {"output": [REASONING, message("I look."), LOOKED]}}


@pytest.mark.parametrize("last", [b"response.output_item.done", b"response.completed"])
async def test_a_stream_that_is_cut_is_no_answer(last: bytes) -> None:
    """Also where all of the text was there."""
    content = stream("Hi")
    called = await streamed(content[: content.index(last)])
    assert isinstance(called.error, StreamCut)
    assert called.may_have_taken


FAILED = {"code": "server_error", "message": "The model has failed."}


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (event("error", code="rate_limit_exceeded", message="slow"), 429, "retryable"),
        (event("error", error={"type": "invalid_request_error", "message": "no"}), 400, "fatal"),
        (event("response.failed", response=response(status="failed", error=FAILED, usage=None)), 500, "retryable"),
    ],
)
async def test_errors_in_the_middle_of_a_stream(content: bytes, status: int, kind: str) -> None:
    """They are those of the statuses that they would have had before it."""
    called = await streamed(event("response.output_text.delta", delta="H") + content)
    assert isinstance(called.error, HttpError)
    assert (called.error.status, classify(called.error).kind, called.may_have_taken) == (status, kind, True)


async def test_what_a_response_that_has_failed_has_taken() -> None:
    """What it tells; nothing where nobody was let in and nothing was made."""
    busy = {"code": "rate_limit_exceeded", "message": "slow"}
    called = await answered(message("H"), status="failed", error=FAILED)
    assert called.usage == Usage(input_tokens=19, output_tokens=10, cached_tokens=4, written_tokens=3)
    assert not called.may_have_taken
    for output, error, may_have_taken in [((), busy, False), ((REASONING,), busy, True), ((), FAILED, True)]:
        called = await answered(*output, status="failed", error=error, usage=None)
        assert (called.usage, called.may_have_taken) == (None, may_have_taken)
    assert not (await streamed(event("error", error=busy))).may_have_taken
    last = event("response.failed", response=response(status="failed", error=busy, usage=None))
    assert (await streamed(event("response.created") + last)).may_have_taken


async def test_a_response_that_has_failed_is_an_error() -> None:
    """Its status was 200 all the same."""
    called = await answered(status="failed", error={"code": "invalid_prompt", "message": "no"})
    assert isinstance(called.error, HttpError)
    assert str(called.error) == "HTTP 400: invalid_prompt: no"
    called = await answered(status="failed")
    assert isinstance(called.error, HttpError)
    assert str(called.error) == "HTTP 500: the response is failed, and nothing says why"


@pytest.mark.parametrize("value", [{"output": None}, {"output": [{"type": "message", "content": 1}]}, {"output": [1]}])
async def test_what_is_no_answer(value: dict[str, Any]) -> None:
    """Other JSON, and items of another shape."""
    called = await answered(**value)
    assert isinstance(called.error, StepError)
    assert called.error.type == "OUTPUT_INVALID"


async def test_an_answer_without_usage_tells_none() -> None:
    answer: ModelAnswer = (await answered(message("Hi"), usage=None)).told
    assert (answer.is_usage_told, answer.usage) == (False, Usage())
    assert msgspec.json.encode(answer.kept) == b"{}"
