"""What connectors make of the answers of a local server that speaks the wire formats, and how they fail."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from courante.runner.models.answer import StopReason
from courante.runner.models.request import Message, ModelRequest
from courante.runner.models.terms import ModelTerms
from courante.runner.models.wire import StreamCut
from courante.sdk.http.reach import AddressRefused
from courante.sdk.outcomes.failures import classify
from courante.sdk.secrets.secrets import Secrets
from courante.sdk.spending.usage import Usage
from courante.sdk.step_error import StepError
from courante.sdk.user_errors import FatalError, HttpError
from integration.wire import anthropic_answers, openai_answers
from integration.wire.calls import ANTHROPIC, KEY, OPENAI, attempt, call, hello, open_tools
from integration.wire.server import Asked, Give, Reply, open_wire

pytestmark = pytest.mark.anyio
USAGE = Usage(input_tokens=19, output_tokens=10, cached_tokens=4, written_tokens=3)
"""Of both: of Anthropic's, what its cache has taken in or given out is counted beside the input."""
TEXT = anthropic_answers.text
WHOLE: list[tuple[str, dict[str, Any], str, StopReason]] = [
    (OPENAI, openai_answers.completion("Hi"), "Hi", StopReason.END),
    (OPENAI, openai_answers.completion("H", finish_reason="length"), "H", StopReason.LENGTH),
    (OPENAI, openai_answers.completion([{"type": "text", "text": "H"}, {"text": "i"}]), "Hi", StopReason.END),
    (OPENAI, openai_answers.completion(None, refusal="No."), "No.", StopReason.REFUSAL),
    (OPENAI, openai_answers.completion(None, finish_reason="content_filter"), "", StopReason.REFUSAL),
    (ANTHROPIC, anthropic_answers.message(TEXT("H"), TEXT("i")), "Hi", StopReason.END),
    (
        ANTHROPIC,
        anthropic_answers.message({"type": "thinking", "thinking": "...", "signature": "x"}, TEXT("Hi")),
        "Hi",
        StopReason.END,
    ),
    (ANTHROPIC, anthropic_answers.message(TEXT("H"), stop_reason="max_tokens"), "H", StopReason.LENGTH),
    (ANTHROPIC, anthropic_answers.message(TEXT("H"), stop_reason="stop_sequence"), "H", StopReason.STOP),
    (ANTHROPIC, anthropic_answers.message(stop_reason="refusal"), "", StopReason.REFUSAL),
]


@pytest.mark.parametrize(("provider", "value", "text", "stop_reason"), WHOLE)
async def test_whole_answers(provider: str, value: dict[str, Any], text: str, stop_reason: StopReason) -> None:
    """Text, usage, model and reason come in one form from both, whatever parts the answer has."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.json(value)

    called, _ = await call(provider, give)
    answer = called.told
    model = openai_answers.MODEL if provider == OPENAI else anthropic_answers.MODEL
    assert (answer.text, answer.stop_reason, answer.model, answer.provider) == (text, stop_reason, model, provider)
    assert answer.usage == USAGE


PIECES = ["Hel", "lo, wörld ", "{}\n\n"]
STREAMS = {OPENAI: openai_answers.stream(*PIECES), ANTHROPIC: anthropic_answers.stream(PIECES[:2], PIECES[2:])}


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC])
async def test_streams(provider: str, ends: bytes, size: int) -> None:
    """However the bytes are cut, and whatever ends the lines: the pieces in order, the whole text, and the usage."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.events(b": hello\n\n".replace(b"\n", ends) + STREAMS[provider].replace(b"\n", ends), size)

    called, server = await call(provider, give, stream=True)
    assert called.told.text == "".join(PIECES)
    assert [piece for piece in called.pieces if piece] == PIECES
    assert called.told.usage == USAGE
    assert server.asked[0].headers["accept"] == "text/event-stream"


@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC])
async def test_a_stream_that_is_cut_is_no_answer(provider: str) -> None:
    """Wherever the connection breaks, or ends in good order, before the model has said all; it counts as taken."""
    content = STREAMS[provider]
    last = content.index(b'"stop"') if provider == OPENAI else content.index(b"message_delta")

    def gives(at: int, *, is_abrupt: bool) -> Give:
        async def give(_asked: Asked, reply: Reply) -> None:
            await reply.begin()
            await reply.piece(content[:at])
            if is_abrupt:
                reply.cut()
            else:
                await reply.end()

        return give

    for at in (1, content.index(b"lo, w"), last):
        for is_abrupt in (True, False):
            called, _ = await call(provider, gives(at, is_abrupt=is_abrupt), stream=True)
            assert isinstance(called.error, StreamCut), (at, is_abrupt, called)
            assert (called.may_have_taken, classify(called.error).kind) == (True, "retryable")
            assert classify(called.error).name == "network"


async def test_a_stream_that_breaks_behind_the_answer_has_only_kept_its_usage_back() -> None:
    """The answer counts; nobody knows what it took."""
    content = openai_answers.stream("Hi", usage=False).removesuffix(b"data: [DONE]\n\n")

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.begin()
        await reply.piece(content)
        reply.cut()

    called, _ = await call(OPENAI, give, stream=True)
    assert (called.told.text, called.told.is_usage_told) == ("Hi", False)


@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC])
async def test_a_server_may_answer_a_stream_as_a_whole_and_the_other_way_round(provider: str) -> None:
    """What comes says itself what it is."""

    async def streams(_asked: Asked, reply: Reply) -> None:
        await reply.events(STREAMS[provider])

    called, _ = await call(provider, hello, stream=True)
    assert called.told.text == "Hi"
    called, _ = await call(provider, streams)
    assert called.told.text == "".join(PIECES)


STATUSES = [
    (400, "fatal"), (401, "fatal"), (403, "fatal"), (404, "fatal"), (413, "fatal"), (422, "fatal"),
    (408, "retryable"), (429, "retryable"), (500, "retryable"), (502, "retryable"), (503, "retryable"),
    (504, "retryable"), (529, "retryable"),
]  # fmt: skip


@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_statuses(provider: str, status: int, kind: str) -> None:
    """What the provider says stands in the error; a refusal takes nothing, but where somebody between gave up."""
    answers = openai_answers if provider == OPENAI else anthropic_answers

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.json(answers.error(f"not so, {KEY}", "some_error"), status=status, headers={"Retry-After": "7"})

    called, _ = await call(provider, give)
    assert isinstance(called.error, HttpError)
    assert str(called.error) == f"HTTP {status}: some_error: not so, ***"
    failure = classify(called.error)
    assert (failure.kind, failure.name, failure.retry_after_ms) == (kind, str(status), 7_000)
    assert called.may_have_taken == (status in (408, 504))


@pytest.mark.parametrize(
    ("provider", "event", "status", "kind"),
    [
        (OPENAI, openai_answers.event(openai_answers.error("slow", "rate_limit_exceeded")), 429, "retryable"),
        (OPENAI, openai_answers.event({"error": "out of memory"}), 500, "retryable"),
        (OPENAI, openai_answers.event(openai_answers.error("bad")), 400, "fatal"),
        (OPENAI, openai_answers.event({"error": {"message": "no key", "code": 401}}), 401, "fatal"),
        (OPENAI, openai_answers.event({"error": {"type": "BadRequestError", "code": "400"}}), 400, "fatal"),
        (OPENAI, openai_answers.event({"error": {"type": "tokens", "code": "rate_limit_exceeded"}}), 429, "retryable"),
        (OPENAI, openai_answers.event({"error": {"message": "gone", "code": 7}}), 500, "retryable"),
        (OPENAI, openai_answers.event(openai_answers.chunk({"content": ""}, "error")), 500, "retryable"),
        (ANTHROPIC, anthropic_answers.in_stream("overloaded_error"), 529, "retryable"),
        (ANTHROPIC, anthropic_answers.in_stream("permission_error"), 403, "fatal"),
    ],
)  # fmt: skip
async def test_errors_in_the_middle_of_a_stream(provider: str, event: bytes, status: int, kind: str) -> None:
    """They are the errors of the statuses that they would have had before it."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.events(STREAMS[provider][: STREAMS[provider].index(b"\n\n") + 2] + event)

    called, _ = await call(provider, give, stream=True)
    assert isinstance(called.error, HttpError)
    assert (called.error.status, classify(called.error).kind, called.may_have_taken) == (status, kind, True)


FAILED_CHOICE = {"message": {"content": "H"}, "finish_reason": "error", "error": {"code": 503, "message": "down"}}


@pytest.mark.parametrize(
    ("provider", "value", "status", "said"),
    [
        (OPENAI, {"error": {"code": 402, "message": "no credits"}}, 402, "no credits"),
        (OPENAI, {"error": "out of memory", "choices": []}, 500, "out of memory"),
        (OPENAI, {"choices": [FAILED_CHOICE]}, 503, "down"),
        (OPENAI, {"choices": [{"finish_reason": "error"}]}, 500, "the model has failed"),
        (ANTHROPIC, anthropic_answers.error("too much", "overloaded_error"), 529, "overloaded_error: too much"),
    ],
)
async def test_errors_in_the_body_of_an_answer(provider: str, value: Any, status: int, said: str) -> None:
    """Gateways have answered 200 before the model failed: the error is that which they tell."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.json(value)

    called, _ = await call(provider, give)
    assert isinstance(called.error, HttpError)
    assert str(called.error) == f"HTTP {status}: {said}"


BUSY = openai_answers.error("slow", "rate_limit_exceeded")
SAID = {"message": {"content": "H"}, "finish_reason": "error", "error": {"code": 429, "message": "slow"}}
TAKEN = Usage(input_tokens=19, output_tokens=10, cached_tokens=4, written_tokens=3)
NOTHING = {"prompt_tokens": 0, "completion_tokens": 0}


@pytest.mark.parametrize(
    ("provider", "value", "may_have_taken", "usage"),
    [
        (OPENAI, BUSY, False, None),
        (OPENAI, {"error": {"code": 402, "message": "no credits"}}, False, None),
        (OPENAI, {"error": {"code": 503, "message": "down"}}, True, None),
        (OPENAI, openai_answers.error("no", "invalid_request_error"), True, None),
        (OPENAI, {"choices": [SAID]}, True, None),
        (OPENAI, {"choices": [SAID], "usage": openai_answers.USAGE}, False, TAKEN),
        (OPENAI, {"choices": [SAID], "usage": NOTHING}, True, None),
        (OPENAI, {"choices": [SAID], "usage": {"prompt_tokens": 19, "completion_tokens": 0}}, True, None),
        (OPENAI, {"choices": [SAID], "usage": {"prompt_tokens": 19, "completion_tokens": -3}}, True, None),
        (OPENAI, {"choices": [SAID], "usage": {"prompt_tokens": 19}}, True, None),
        (OPENAI, {**BUSY, "usage": NOTHING}, False, None),
        (OPENAI, {"error": "out of memory", "usage": openai_answers.USAGE}, False, TAKEN),
        (ANTHROPIC, anthropic_answers.error("x", "overloaded_error"), False, None),
        (ANTHROPIC, anthropic_answers.error("x", "api_error"), True, None),
    ],
)
async def test_what_an_error_in_an_answer_has_taken(
    provider: str, value: Any, may_have_taken: bool, usage: Usage | None
) -> None:
    """What it tells, where that can be; nothing where nobody was let in; else the most that it can have taken."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.json(value)

    called, _ = await call(provider, give)
    assert isinstance(called.error, HttpError)
    assert (called.may_have_taken, called.usage) == (may_have_taken, usage)


@pytest.mark.parametrize(
    ("provider", "events", "may_have_taken", "usage"),
    [
        (OPENAI, [openai_answers.event(BUSY)], False, None),
        (OPENAI, [openai_answers.event(openai_answers.chunk({"role": "assistant"})), openai_answers.event(BUSY)],
         True, None),
        (OPENAI, [openai_answers.event(openai_answers.chunk({"content": "H"})),
                  openai_answers.event({**BUSY, "usage": openai_answers.USAGE})], False, TAKEN),
        (OPENAI, [openai_answers.event({**openai_answers.LAST, "usage": openai_answers.USAGE}),
                  openai_answers.event(BUSY)], True, None),
        (ANTHROPIC, [anthropic_answers.event("ping"), anthropic_answers.in_stream("overloaded_error")], False, None),
        (ANTHROPIC, [anthropic_answers.start(), anthropic_answers.in_stream("overloaded_error")], True, None),
    ],
)  # fmt: skip
async def test_what_an_error_in_a_stream_has_taken(
    provider: str, events: list[bytes], may_have_taken: bool, usage: Usage | None
) -> None:
    """Nothing only where it is the first that comes. Counts of pieces before it are not all that was taken."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.events(b": hello\n\n" + b"".join(events))

    called, _ = await call(provider, give, stream=True)
    assert isinstance(called.error, HttpError)
    assert (called.may_have_taken, called.usage) == (may_have_taken, usage)


@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<html>Sign in</html>", "text/html"),
        (b'{"choices": [', "application/json"),
        (b'{"choices": 7, "content": 7}', "application/json"),
        (b"[]", "application/json"),
        (b"", "application/json"),
        (b"\xff\xfe", "application/octet-stream"),
    ],
)
async def test_what_is_no_answer(provider: str, content: bytes, kind: str) -> None:
    """Malformed JSON and other content types are OUTPUT_INVALID, and name the content type."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.whole(content, kind=kind)

    called, _ = await call(provider, give)
    assert isinstance(called.error, StepError)
    assert (called.error.type, classify(called.error).kind) == ("OUTPUT_INVALID", "retryable")
    assert kind in str(called.error)
    assert called.may_have_taken


async def test_malformed_pieces_of_a_stream() -> None:
    """They are OUTPUT_INVALID as well."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.events(b"data: {no}\n\n")

    for provider in (OPENAI, ANTHROPIC):
        called, _ = await call(provider, give, stream=True)
        assert isinstance(called.error, StepError)
        assert called.error.type == "OUTPUT_INVALID"


async def test_redirects_are_not_followed() -> None:
    """A key goes nowhere else."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.whole(b"", status=307, headers={"Location": f"https://else.example/{KEY}"})

    called, server = await call(OPENAI, give)
    assert isinstance(called.error, FatalError)
    assert str(called.error).startswith("HTTP 307: a redirect to https://else.example/***, which is not followed")
    assert len(server.asked) == 1


async def test_a_key_that_is_missing() -> None:
    """Servers of the operator's own may need none; the providers do, and documents cannot choose the plain variable."""
    called, server = await call(OPENAI, hello, environ={})
    assert called.told.text == "Hi"
    assert "authorization" not in server.asked[0].headers
    called, server = await call(ANTHROPIC, hello, environ={"COURANTE_SECRET_ANTHROPIC_API_KEY": "of-courante"})
    assert server.asked[0].headers["x-api-key"] == "of-courante"
    called, _ = await call(OPENAI, hello, api_key_secret="OTHER", environ={"OTHER": KEY})
    assert "no secret 'OTHER'" in str(called.error)
    async with open_tools(ModelTerms(), {}) as tools:
        called = await attempt(tools, ModelRequest(provider=OPENAI, model="gpt-4o"))
        assert isinstance(called.error, StepError)
        assert "give it the variable OPENAI_API_KEY" in str(called.error)
        tools.secrets = Secrets(None, {"OPENAI_API_KEY": "two\nlines"})
        called = await attempt(tools, ModelRequest(provider=OPENAI, model="gpt-4o"))
        assert "what no header can" in str(called.error)


async def test_an_address_that_a_document_names_gets_no_key_of_the_worker() -> None:
    """It gets the key of the secret that is named for it, is called within the reach of nodes, and never by ours."""
    async with open_wire(hello) as server:
        environ = {"OPENAI_API_KEY": KEY, "COURANTE_SECRET_OPENAI_API_KEY": KEY, "COURANTE_SECRET_MINE": "mine"}
        request = ModelRequest(
            provider=OPENAI, model="m", messages=(Message(role="user", content="x"),), base_url=f"{server.url}/v1"
        )
        named = ModelRequest(provider=OPENAI, model="m", base_url=server.url, api_key_secret="OPENAI_API_KEY")
        own = ModelRequest(provider=OPENAI, model="m", base_url=server.url, api_key_secret="MINE")
        async with open_tools(ModelTerms(), environ) as tools:
            called = await attempt(tools, request)
            assert isinstance(called.error, AddressRefused)
            assert not called.may_have_taken
        async with open_tools(ModelTerms(), environ, http_allow="127.0.0.1") as tools:
            assert (await attempt(tools, request)).told.text == "Hi"
            assert (await attempt(tools, own)).told.text == "Hi"
            refused = await attempt(tools, named)
        assert isinstance(refused.error, StepError)
        assert "another name" in str(refused.error)
        assert [asked.headers.get("authorization") for asked in server.asked] == [None, "Bearer mine"]
        assert [asked.path for asked in server.asked] == ["/v1/chat/completions", "/chat/completions"]


async def test_a_server_that_is_away_takes_nothing() -> None:
    """A connection that is refused may be tried again."""
    async with open_wire(hello) as server:
        url = server.url
    async with open_tools(ModelTerms(openai_url=url), {}) as tools:
        called = await attempt(tools, ModelRequest(provider=OPENAI, model="m"))
    assert isinstance(called.error, httpx.ConnectError)
    assert (classify(called.error).name, called.may_have_taken) == ("network", False)


async def test_a_key_in_an_answer_is_masked() -> None:
    """Whoever repeats it gives nothing away, whole or in pieces."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.json(openai_answers.completion(f"Your key is {KEY}."))

    async def streams(_asked: Asked, reply: Reply) -> None:
        await reply.events(openai_answers.stream("Your key is ", KEY[:7], f"{KEY[7:]}."))

    for way in (give, streams):
        called, _ = await call(OPENAI, way, stream=way is streams)
        assert called.told.text == "Your key is ***."
        assert KEY not in json.dumps(called.told.text)


async def test_a_key_in_what_is_kept_of_a_turn_is_masked() -> None:
    """What a model has thought is stored with the agent, and so are the names that it makes up."""
    thought = {"type": "thinking", "thinking": f"The key is {KEY}.", "signature": "x"}
    used = {"type": "tool_use", "id": f"c-{KEY}", "name": f"n-{KEY}", "input": {"key": KEY}}

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.json(anthropic_answers.message(thought, used, stop_reason="tool_use"))

    called, _ = await call(ANTHROPIC, give)
    assert called.told.kept["anthropic"]["content"][0]["thinking"] == "The key is ***."
    assert KEY not in repr(called.told)
