"""What providers answer that nobody should: counts that cannot be, names without end, half a key."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from courante.runner.models.answer import StopReason
from courante.runner.models.anthropic import Anthropic
from courante.runner.models.calling import most_spent
from courante.runner.models.openai import OpenAi
from courante.runner.models.request import FILE_TOKENS, PICTURE_TOKENS, Message, ModelRequest
from courante.runner.models.terms import ModelTerms
from courante.runner.toolbox import open_toolbox
from courante.sdk.authoring.steps import Steps
from courante.sdk.http.server_events import LINE_BYTES_MAX, EventReader
from courante.sdk.spending.spent import told_spent
from courante.sdk.step_error import StepError
from courante.sdk.user_errors import FatalError, HttpError
from integration.forward_proxy import open_proxy
from integration.stage import Stage
from integration.wire import anthropic_answers, openai_answers
from integration.wire.calls import ANTHROPIC, KEY, OPENAI, attempt, call, open_tools
from integration.wire.server import Asked, Give, Reply, open_wire

pytestmark = pytest.mark.anyio


def gives(value: object, **how: Any) -> Give:
    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.json(value, **how)

    return give


@pytest.mark.parametrize("count", [-7, 2**53, 10**30, None])
@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC])
async def test_counts_that_cannot_be_are_as_if_none_were_told(provider: str, count: int | None) -> None:
    """The answer is good; a budget is not given back by it, and the log can hold what it took."""
    usage = {"prompt_tokens": 3, "completion_tokens": count}
    value: object = openai_answers.completion("Hi", usage=usage)
    if provider == ANTHROPIC:
        text = anthropic_answers.text("Hi")
        value = anthropic_answers.message(text, usage={"input_tokens": 3, "output_tokens": count})
    called, _ = await call(provider, gives(value))
    assert (called.told.text, called.told.is_usage_told) == ("Hi", False)


async def test_the_name_of_a_model_has_an_end_and_no_key() -> None:
    """It stands in events and tables."""
    value = {**openai_answers.completion("Hi"), "model": f"{KEY}\0{'x' * 100_000}"}
    called, _ = await call(OPENAI, gives(value))
    assert called.told.model == ("***\ufffd" + "x" * 1_000)[:200]


@pytest.mark.parametrize("shift", [1, 9, len(KEY) - 1])
async def test_half_a_key_is_not_shown(shift: int) -> None:
    """Where what a server has sent is cut, a key may stand."""
    value = {"said": "x" * (200 - len('{"said": "') - shift) + KEY}
    called, _ = await call(OPENAI, gives(value))
    assert isinstance(called.error, StepError)
    assert "xxx" in str(called.error)
    assert KEY[:1] not in str(called.error).partition("xxx")[2].partition("'")[0]
    assert KEY not in str(called.error)


@pytest.mark.parametrize(
    ("content", "headers"), [(b"?", {"Content-Encoding": "br"}), (b"no gzip", {"Content-Encoding": "gzip"})]
)
async def test_a_refusal_that_cannot_be_unpacked_is_one(content: bytes, headers: dict[str, str]) -> None:
    """Its status says what kind it is."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.whole(content, status=401, headers=headers)

    called, _ = await call(OPENAI, give)
    assert isinstance(called.error, HttpError)
    assert called.error.status == 401


async def test_a_refusal_that_breaks_off_is_one() -> None:
    """The status was told."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.whole(b"slow", status=429, headers={"Content-Length": "99", "Retry-After": "7"})
        reply.cut()

    called, _ = await call(OPENAI, give)
    assert isinstance(called.error, HttpError)
    assert called.error.status == 429


def test_an_event_without_end_is_given_up() -> None:
    """However short its lines are."""
    line = b"data: " + b"x" * 1_000_000 + b"\n"
    with pytest.raises(StepError, match="an event of more than"):
        list(EventReader().feed(line * (1 + LINE_BYTES_MAX // 1_000_000)))


async def test_of_several_answers_the_first_counts() -> None:
    """Their pieces come one among the other; the first is over when it says so."""

    def piece(index: int, text: str, reason: str | None = None) -> bytes:
        chunk = openai_answers.chunk({"content": text}, reason)
        return openai_answers.event({**chunk, "choices": [{**chunk["choices"][0], "index": index}]})

    pieces = [piece(1, "No"), piece(0, "H"), piece(1, "", "length"), piece(0, "i"), piece(0, "", "stop")]

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.events(b"".join(pieces) + openai_answers.event(openai_answers.LAST))

    called, _ = await call(OPENAI, give, stream=True, extra={"n": 2})
    assert (called.told.text, called.told.stop_reason) == ("Hi", StopReason.END)
    second, first = (openai_answers.completion(text)["choices"][0] for text in ("No", "Hi"))
    called, _ = await call(OPENAI, gives({**openai_answers.completion(""), "choices": [{**second, "index": 1}, first]}))
    assert called.told.text == "Hi"
    called, _ = await call(OPENAI, gives({**openai_answers.completion(""), "choices": [{**first, "index": None}]}))
    assert called.told.text == "Hi"


async def test_a_success_that_is_no_answer_may_have_taken_something() -> None:
    """Nobody knows what a server means by it; it has let the call in."""
    called, _ = await call(OPENAI, gives(openai_answers.completion("Hi"), status=201))
    assert isinstance(called.error, FatalError)
    assert called.may_have_taken


async def test_a_call_that_a_proxy_does_not_let_out_takes_nothing() -> None:
    """The provider never hears of it."""
    async with open_proxy({}) as proxy:
        async with open_toolbox(
            Steps(), "w", models=ModelTerms(openai_url="https://models.example/v1"), http_proxy=proxy.url
        ) as tools:
            called = await attempt(tools, ModelRequest(provider=OPENAI, model="gpt-4o"))
        assert proxy.asked == ["CONNECT models.example:443"]
    assert isinstance(called.error, httpx.ProxyError)
    assert not called.may_have_taken


@pytest.mark.parametrize(
    ("extra", "tokens"),
    [
        ({}, 50),
        ({"max_tokens": 9_000}, 9_000),
        ({"max_completion_tokens": 70, "n": 3}, 210),
        ({"max_tokens": None}, 128_000),
        ({"best_of": 2}, 100),
    ],
)
async def test_what_extra_says_is_reserved_too(extra: dict[str, Any], tokens: int) -> None:
    """It changes what a call may take: how long answers are, how many there are, and what is to be read."""
    request = ModelRequest(provider=OPENAI, model="gpt-4o", max_tokens=50, extra=extra)
    async with open_tools(ModelTerms(), {}) as tools:
        most = most_spent(request, tools, 0)
    assert most.output_tokens == tokens
    assert most.input_tokens >= len(msgspec.json.encode(OpenAi().body(request)["messages"]))
    assert not extra or most.input_tokens >= len(msgspec.json.encode(extra))


@pytest.mark.parametrize(("model", "tokens"), [("claude-sonnet-4-5", 4_096), ("claude-opus-5-5", 16_000)])
async def test_what_a_provider_has_to_be_told_is_reserved(model: str, tokens: int) -> None:
    """Anthropic wants a ``max_tokens``: where the document leaves it to the provider that which is sent counts."""
    request = ModelRequest(provider=ANTHROPIC, model=model, messages=(Message(role="user", content="p"),))
    async with open_tools(ModelTerms(), {}) as tools:
        assert most_spent(request, tools, 0).output_tokens == tokens
    assert Anthropic().body(request)["max_tokens"] == tokens


async def test_a_picture_counts_as_one_however_it_is_given() -> None:
    """By its bytes a budget would have room for none; by the length of a URL it would be had for nothing."""
    data = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 500_000}}
    link = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    text = {"type": "text", "text": "x" * 1_000}

    async with open_tools(ModelTerms(), {}) as tools:

        def most(*parts: Any) -> int:
            messages = (Message(role="user", content=[*parts]),)
            return most_spent(ModelRequest(provider=OPENAI, model="gpt-4o", messages=messages), tools, 0).input_tokens

        assert most(text, data) == most(text, link) == most(text) + PICTURE_TOKENS
        assert 1_000 < most(text) < 1_200
        assert most(data, link) > 2 * PICTURE_TOKENS


FILES: list[dict[str, Any]] = [
    {"type": "file", "file": {"file_id": "f"}},
    {"type": "input_file", "file_url": "https://a.example/b.pdf"},
    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * 900}},
    {"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": {}}]}},
    {"type": "document", "source": "?"},
    {"type": "video_url", "video_url": {"url": "https://a.example/b.mp4"}},
    {},
]


@pytest.mark.parametrize("part", FILES)
async def test_a_file_counts_with_all_that_a_model_can_read(part: dict[str, Any]) -> None:
    """Once for all of them, unless the document says what they have at most: their bytes say nothing."""
    said = {"type": "text", "text": "x" * 1_000}
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x" * 1_000}}

    async with open_tools(ModelTerms(), {}) as tools:

        def most(*parts: Any, **fields: Any) -> int:
            messages = (Message(role="user", content=[*parts]),)
            request = ModelRequest(provider=OPENAI, model="gpt-4o", messages=messages, **fields)
            return most_spent(request, tools, 0).input_tokens

        assert most(said, part) == most(said, part, part) == most(said) + FILE_TOKENS
        assert most(said, part, max_file_tokens=7_000) == most(said) + 7_000
        assert 2_000 < most(said, plain, max_file_tokens=7_000) < 2_500


async def test_a_model_of_another_name_costs_what_was_asked_for(stage: Stage) -> None:
    """A server that calls its model otherwise does not empty a budget of money by nothing."""
    value = {**openai_answers.completion("Hi"), "model": "/models/mine.gguf"}
    async with open_wire(gives(value)) as server:
        stage.worker(models=ModelTerms(openai_url=f"{server.url}/v1"))
        stage.supervisor()
        node: dict[str, Any] = {"id": "a", "type": "llm", "config": {"model": "gpt-4o", "prompt": "Hello"}}
        await stage.register(node)
        done = await stage.run("w")
    (spent,) = [told_spent(each.facts.data) for each in await stage.events(done.run_id) if "spent" in each.facts.data]
    assert (spent.model, spent.unpriced, spent.currency) == ("/models/mine.gguf", 0, "USD")
    assert spent.cost > 0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([{"error": {"code": 400, "message": "no such model", "status": "INVALID_ARGUMENT"}}], "no such model"),
        ({"error": "out of memory"}, "out of memory"),
        ({"object": "error", "message": "too long", "type": "BadRequestError"}, "BadRequestError: too long"),
        ({"detail": "Not Found"}, '{"detail": "Not Found"}'),
        ([], "[]"),
    ],
)
async def test_refusals_of_other_servers_are_said_in_one_line(value: Any, said: str) -> None:
    """Those that speak OpenAI's format have errors of their own; what nobody knows is shown as it is."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.json(value, status=400)

    called, _ = await call(OPENAI, give)
    assert str(called.error) == f"HTTP 400: {said}"


@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC])
async def test_events_that_only_keep_a_stream_alive_are_passed_over(provider: str) -> None:
    """Comments, and events without data."""
    answers = openai_answers.stream("Hi") if provider == OPENAI else anthropic_answers.stream(["Hi"])

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.events(b": alive\n\ndata:\n\nevent: ping\ndata: \n\n" + answers)

    called, _ = await call(provider, give, stream=True)
    assert called.told.text == "Hi"
