"""Workers call providers: retries, timeouts, cancellation, what a broken call counts, and where the key never goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from courante.runner.models.terms import ModelTerms
from courante.sdk.spending.spent import Spent, told_spent
from integration.stage import Stage
from integration.wire import anthropic_answers, openai_answers
from integration.wire.server import Asked, Reply, open_wire

pytestmark = pytest.mark.anyio
KEY = "planted-5f1c9d7e-key"
TWICE = {"max_attempts": 2, "base": "1ms", "jitter": False}
ONCE = {"max_attempts": 1}
MOST = {"model": "gpt-4o", "prompt": "Hello", "max_tokens": 50}
SHAPE = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A directory of secrets, each of them the planted key."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        (tmp_path / name).write_text(KEY)
    return tmp_path


@pytest.fixture
def begin(stage: Stage, keys: Path) -> Callable[..., None]:
    def begin(url: str, *, timeout_ms: int = 60_000, lease_ms: int = 30_000) -> None:
        models = ModelTerms(openai_url=f"{url}/v1", anthropic_url=url, request_timeout_ms=timeout_ms)
        stage.worker(models=models, secrets_dir=keys, lease_ms=lease_ms)
        stage.supervisor()

    return begin


def asks(retry: Any = TWICE, timeout: str = "", **config: Any) -> dict[str, Any]:
    fields = {"timeout": timeout} if timeout else {}
    return {"id": "a", "type": "llm", "config": {**MOST, **config}, "retry": retry, **fields}


async def told(stage: Stage, run_id: str) -> list[tuple[str, Spent]]:
    """The ends of attempts in the log, and what they have taken."""
    events = await stage.events(run_id)
    ends = ("step.succeeded", "step.retried", "step.failed", "token.dropped", "spending.recorded")
    return [(each.facts.type, told_spent(each.facts.data)) for each in events if each.facts.type in ends]


async def say(reply: Reply, text: str) -> None:
    await reply.json(openai_answers.completion(text))


async def test_a_provider_that_asks_to_wait_is_called_again(stage: Stage, begin: Callable[..., None]) -> None:
    """After its Retry-After, as another attempt; what was refused has taken nothing, what was answered has a price."""
    times: list[float] = []

    async def give(asked: Asked, reply: Reply) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            headers = {"Retry-After": "0.3"}
            await reply.json(openai_answers.error("slow down"), status=429, headers=headers)
        else:
            await say(reply, f"You said {asked.body['messages'][0]['content']}")

    async with open_wire(give) as server:
        begin(server.url)
        await stage.register(asks(), output="outputs.a")
        done = await stage.run("w")
    assert done.output == "You said Hello"
    assert times[1] - times[0] >= 0.29
    (kind, nothing), (_, spent) = await told(stage, done.run_id)
    assert (kind, nothing) == ("step.retried", Spent())
    assert (spent.provider, spent.calls, spent.input_tokens, spent.cached_tokens) == ("openai", 1, 19, 4)
    assert spent.cost > 0
    assert (spent.unknown, spent.unpriced) == (0, 0)


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_provider_that_refuses_is_not_called_again(
    stage: Stage, begin: Callable[..., None], status: int
) -> None:
    """Another try would not help."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.json(openai_answers.error("no"), status=status)

    async with open_wire(give) as server:
        begin(server.url)
        await stage.register(asks())
        done = await stage.run("w")
        assert len(server.asked) == 1
    assert done.error is not None
    assert done.error["message"] == f"HTTP {status}: invalid_request_error: no"


async def test_what_was_wrong_is_shown_to_the_model_again(stage: Stage, begin: Callable[..., None]) -> None:
    """The second request holds the first answer and its faults; an answer that was cut off says so."""
    answers = iter([('{"n": "x"}', "stop"), ('{"n": ', "length"), ('{"n": 3}', "stop")])

    async def give(_asked: Asked, reply: Reply) -> None:
        text, reason = next(answers)
        await reply.json(openai_answers.completion(text, finish_reason=reason))

    async with open_wire(give) as server:
        begin(server.url)
        await stage.register(asks({**TWICE, "max_attempts": 3}, schema=SHAPE), output="outputs.a")
        done = await stage.run("w")
        turns = [asked.body["messages"] for asked in server.asked]
    assert done.output == {"n": 3}
    assert [len(each) for each in turns] == [1, 3, 3]
    assert turns[1][1] == {"role": "assistant", "content": '{"n": "x"}'}
    assert "- answer.n: " in turns[1][2]["content"]
    assert turns[2][1] == {"role": "assistant", "content": '{"n": '}
    assert "- it was cut off: max_tokens is 50" in turns[2][2]["content"]
    ends = await told(stage, done.run_id)
    assert [(kind, spent.calls) for kind, spent in ends] == [("step.retried", 1)] * 2 + [("step.succeeded", 1)]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("length", "gpt-4o-2024-08-06 has said nothing: all of its 50 max_tokens were used before"),
        ("content_filter", "gpt-4o-2024-08-06 has said nothing: it refuses to answer"),
    ],
)
async def test_an_answer_without_a_word_says_why(
    stage: Stage, begin: Callable[..., None], reason: str, said: str
) -> None:
    """All tokens were used to think, or the model was not allowed to: that is no empty text. What it took counts."""

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.json(openai_answers.completion("", finish_reason=reason))

    async with open_wire(give) as server:
        begin(server.url)
        await stage.register(asks(TWICE))
        done = await stage.run("w")
        assert len(server.asked) == 2
    assert done.error is not None
    assert done.error["type"] == "OUTPUT_INVALID"
    assert done.error["message"].startswith(said)
    assert [spent.calls for _, spent in await told(stage, done.run_id)] == [1, 1]


async def test_a_call_that_fails_and_tells_its_usage_has_taken_that(stage: Stage, begin: Callable[..., None]) -> None:
    """It is known: neither nothing, as of a refusal, nor the most that it can have been."""
    failed = {"choices": [{"finish_reason": "error", "message": {"content": "H"}}], "usage": openai_answers.USAGE}
    answers = iter([openai_answers.error("busy", "rate_limit_exceeded"), failed, openai_answers.completion("Hi")])

    async def give(_asked: Asked, reply: Reply) -> None:
        await reply.json(next(answers))

    async with open_wire(give) as server:
        begin(server.url)
        await stage.register(asks({**TWICE, "max_attempts": 3}), output="outputs.a")
        done = await stage.run("w")
    assert done.output == "Hi"
    (_, refused), (_, lost), (_, spent) = await told(stage, done.run_id)
    assert refused == Spent()
    assert (lost.calls, lost.unknown, lost.input_tokens, lost.output_tokens, lost.cached_tokens) == (1, 0, 19, 10, 4)
    assert lost.cost == spent.cost > 0


@pytest.mark.parametrize("most", ["", "1s"])
async def test_slow_bytes_run_out_of_time(stage: Stage, begin: Callable[..., None], most: str) -> None:
    """A server that sends a byte now and then does not keep a step: the worker's own time, or that of the node."""
    closed = anyio.Event()

    async def give(_asked: Asked, reply: Reply) -> None:
        if closed.is_set():
            await reply.events(openai_answers.stream("Hi"))
            return
        await reply.begin()
        await reply.piece(openai_answers.event(openai_answers.chunk({"content": "H"})))
        await reply.until_gone()
        closed.set()

    async with open_wire(give) as server:
        begin(server.url, timeout_ms=1_000)
        await stage.register(asks({**TWICE, "max_attempts": 20}, most, stream=True), output="outputs.a")
        done = await stage.run("w")
    assert done.output == "Hi"
    late = [each.facts for each in await stage.events(done.run_id) if each.facts.type == "step.retried"]
    assert {(each.error.type, each.error.failure_class) for each in late if each.error is not None} == {
        ("TIMEOUT" if most else "TimeoutError", "timeout")
    }
    lost = [spent for spent in map(told_spent, (each.data for each in late)) if spent.calls]
    assert {(spent.calls, spent.unknown, spent.output_tokens, spent.cost > 0) for spent in lost} == {(1, 1, 50, True)}


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_run_that_is_cancelled_closes_the_request(
    stage: Stage, begin: Callable[..., None], is_streamed: bool
) -> None:
    """As soon as its worker hears of it, though handlers have longer to end; what the call has taken is in the log."""
    asked, closed = anyio.Event(), anyio.Event()

    async def give(_asked: Asked, reply: Reply) -> None:
        if is_streamed:
            await reply.begin()
            await reply.piece(openai_answers.event(openai_answers.chunk({"content": "H"})))
        asked.set()
        await reply.until_gone()
        closed.set()

    async with open_wire(give) as server:
        begin(server.url, lease_ms=600)
        await stage.register(asks(stream=is_streamed))
        run_id = await stage.client.submit("w")
        with anyio.fail_after(30):
            await asked.wait()
            await stage.client.cancel(run_id)
            await closed.wait()
        assert (await stage.result(run_id)).status == "CANCELLED"
    assert [(kind, spent.unknown) for kind, spent in await told(stage, run_id)] == [("token.dropped", 1)]


async def test_a_stream_that_is_cut_is_asked_for_again(stage: Stage, begin: Callable[..., None]) -> None:
    """The lost call counts with the most that it can have taken, as unknown."""
    numbers = count()
    content = anthropic_answers.stream(["Hi ", "there"])

    async def give(_asked: Asked, reply: Reply) -> None:
        if next(numbers):
            await reply.events(content)
        else:
            await reply.begin()
            await reply.piece(content[: content.index(b"there")])
            reply.cut()

    async with open_wire(give) as server:
        begin(server.url)
        await stage.register(asks(model="claude-sonnet-4-5", stream=True), output="outputs.a")
        done = await stage.run("w")
    assert done.output == "Hi there"
    (_, lost), (_, spent) = await told(stage, done.run_id)
    assert (lost.calls, lost.unknown, lost.output_tokens) == (1, 1, 50)
    assert lost.input_tokens > len("Hello")
    assert (spent.calls, spent.unknown, spent.input_tokens, spent.output_tokens) == (1, 0, 19, 10)
    assert lost.cost > spent.cost > 0


async def test_what_was_told_of_a_lost_call_is_not_told_again(stage: Stage, keys: Path) -> None:
    """One worker falls silent, the next gives its call back, the third is answered: three calls, each told once."""
    waiting = anyio.Semaphore(0)
    is_answered = False

    async def give(_asked: Asked, reply: Reply) -> None:
        if is_answered:
            await say(reply, "Hi")
            return
        waiting.release()
        await reply.until_gone()

    async with open_wire(give) as server:
        models = ModelTerms(openai_url=f"{server.url}/v1", anthropic_url=server.url)
        stage.supervisor()
        stage.worker(models=models, secrets_dir=keys, lease_ms=1_000)
        await stage.register(asks(), output="outputs.a")
        run_id = await stage.client.submit("w")
        with anyio.fail_after(30):
            await waiting.acquire()
            await stage.kill(1)
            await stage.run_out(stage.workers[0])
            second = stage.worker(models=models, secrets_dir=keys, lease_ms=1_000, stop_grace_ms=0)
            await waiting.acquire()
            is_answered = True
            second.stop()
            await stage.ends[2].wait()
        stage.worker(models=models, secrets_dir=keys)
        assert (await stage.result(run_id)).output == "Hi"
    ends = [(kind, spent.calls, spent.unknown) for kind, spent in await told(stage, run_id)]
    assert ends == [("spending.recorded", 2, 2), ("step.succeeded", 1, 0)]


async def test_a_lost_call_counts_once_where_the_next_worker_fails_while_it_stops(stage: Stage, keys: Path) -> None:
    """It tells what was lost before it, and gives the step back: the third worker does not tell it again."""
    asked, may_fail = [anyio.Event(), anyio.Event()], anyio.Event()

    async def give(_asked: Asked, reply: Reply) -> None:
        number = len(server.asked)
        if number > 2:
            await say(reply, "Hi")
            return
        asked[number - 1].set()
        await (reply.until_gone() if number == 1 else may_fail.wait())
        await reply.json(openai_answers.error("down"), status=500)

    async with open_wire(give) as server:
        terms: dict[str, Any] = {"models": ModelTerms(openai_url=f"{server.url}/v1"), "secrets_dir": keys}
        stage.worker(lease_ms=1_000, **terms)
        await stage.register(asks(ONCE))
        run_id = await stage.client.submit("w")
        with anyio.fail_after(10):
            await asked[0].wait()
            await stage.kill(0)
            await stage.run_out(stage.workers[0])
            second = stage.worker(lease_ms=1_000, **terms)
            stage.supervisor()
            await asked[1].wait()
            second.stop()
            may_fail.set()
            stage.worker(lease_ms=1_000, **terms)
            done = await stage.result(run_id)
    assert done.status == "COMPLETED"
    spent = [spent for _, spent in await told(stage, run_id)]
    assert [(each.calls, each.unknown) for each in spent if each.calls] == [(1, 1), (1, 0)]


async def test_calls_that_were_lost_with_every_worker_are_told(stage: Stage, keys: Path) -> None:
    """Where nobody tries again, too: how many there were, and that nobody knows what they took."""
    begun = anyio.Event()

    async def give(_asked: Asked, reply: Reply) -> None:
        begun.set()
        await reply.until_gone()

    async with open_wire(give) as server:
        terms: dict[str, Any] = {"models": ModelTerms(openai_url=f"{server.url}/v1"), "secrets_dir": keys}
        stage.worker(lease_ms=1_000, **terms)
        await stage.register(asks(ONCE))
        run_id = await stage.client.submit("w")
        with anyio.fail_after(10):
            await begun.wait()
        await stage.kill(0)
        await stage.run_out(stage.workers[0])
        stage.worker(lease_ms=1_000, deliveries_max=1, **terms)
        stage.supervisor()
        done = await stage.result(run_id)
    assert done.error is not None
    assert done.error["type"] == "POISONED"
    ((_, spent),) = await told(stage, run_id)
    assert (spent.calls, spent.unknown, spent.unpriced) == (1, 1, 1)
