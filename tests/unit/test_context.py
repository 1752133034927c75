"""What a step can do with its context, on a stand-in of a worker."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from urllib.parse import quote

import anyio
import anyio.to_thread
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.authoring.cancellation import Cancellation, CancelReason
from courante.sdk.authoring.context import HEARTBEAT_BYTES_MAX, Attempt, Context
from courante.sdk.authoring.deferral import Deferred, DeferToken, parse_defer_token
from courante.sdk.ids import new_run_id
from courante.sdk.marking.scopes import token_key

IN_TIME_S = 10.0


class Held:
    """A worker's side of an attempt that only takes down what it is told."""

    def __init__(self, last_report: bytes | None = None) -> None:
        self.cancellation = Cancellation()
        self.last_report = last_report
        self.reports: list[bytes] = []

    def report(self, details: bytes) -> None:
        self.reports.append(details)


def context(held: Attempt | None = None, **fields: Any) -> Context:
    """A context of the first attempt of a step, in the hands of ``held``."""
    made = Context("run_1", "w", "a", "", 1, "run_1/a", "x")
    return msgspec.structs.replace(made, **fields, **({} if held is None else {"held_by": held}))


def test_a_heartbeat_brings_its_details_to_the_worker() -> None:
    """As JSON, at once; without details it is null."""
    held = Held()
    running = context(held)
    running.heartbeat({"done": [1, 2.5, "ü"]})
    running.heartbeat()
    assert held.reports == ['{"done":[1,2.5,"ü"]}'.encode(), b"null"]


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ("x" * HEARTBEAT_BYTES_MAX, "8,194 bytes as JSON, at most 8,192"),
        (float("nan"), "nan is no JSON number"),
        ({"at": {1, 2}}, "at: JSON has no values of type set"),
    ],
)
def test_details_that_cannot_be_kept_are_refused(details: object, words: str) -> None:
    """With the size or the place, and without a heartbeat."""
    held = Held()
    with pytest.raises(ValueError, match=words):
        context(held).heartbeat(details)
    assert held.reports == []
    context(held).heartbeat("x" * (HEARTBEAT_BYTES_MAX - 2))
    assert len(held.reports) == 1


def test_the_next_attempt_reads_what_was_reported_last() -> None:
    """Decoded anew each time, so that nobody changes it for others; None where nothing was."""
    running = context(Held(b'{"done":3}'), attempt=2, max_attempts=5)
    running.last_heartbeat["done"] = 4
    assert running.last_heartbeat == {"done": 3}
    assert context(Held()).last_heartbeat is None
    assert (running.attempt, running.max_attempts) == (2, 5)


def test_a_context_works_without_a_worker() -> None:
    """In a test of a step: heartbeats go nowhere, and cancelling one context cancels no other."""
    alone, other = context(), context()
    alone.heartbeat({"done": 1})
    assert (alone.last_heartbeat, alone.is_cancelled, alone.max_attempts) == (None, False, 1)
    alone.cancelled.set(CancelReason.CANCELLED)
    assert (alone.is_cancelled, other.is_cancelled) == (True, False)
    assert parse_defer_token(alone.defer().token) == DeferToken("run_1", "0", 1)


def test_the_first_reason_stays() -> None:
    """A step that was told to stop is not told another story later."""
    held = Held()
    running = context(held)
    assert (running.is_cancelled, running.cancelled.reason, running.cancelled.is_set()) == (False, None, False)
    held.cancellation.set(CancelReason.LEASE_LOST)
    held.cancellation.set(CancelReason.STOPPING)
    assert (running.is_cancelled, running.cancelled.reason) == (True, "lease_lost")


def test_a_plain_step_waits_in_its_thread() -> None:
    """It is woken when it is cancelled, returns when its time is up, and at once when it was cancelled before."""
    held = Held()
    running = context(held)
    assert running.cancelled.wait(0) is False
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(running.cancelled.wait(IN_TIME_S))) for _ in range(3)]
    for thread in threads:
        thread.start()
    held.cancellation.set(CancelReason.TIMED_OUT)
    for thread in threads:
        thread.join(IN_TIME_S)
    assert found == [True, True, True]
    assert running.cancelled.wait(0) is True


async def _wait_all(running: Context, found: list[str], count: int) -> None:
    async def one() -> None:
        found.append(await running.cancelled)

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(running.cancelled.set, CancelReason.CANCELLED)


@pytest.mark.anyio
async def test_an_async_step_awaits_it(anyio_backend: str) -> None:
    """Any number of tasks, woken from another thread; awaiting it later returns at once."""
    held = Held()
    running = context(held)
    found: list[str] = []
    asyncio.get_running_loop().set_debug(True)  # it complains about what another thread does to it directly
    with anyio.fail_after(IN_TIME_S):
        await _wait_all(running, found, 3)
        found.append(await running.cancelled)
    assert found == ["cancelled"] * 4


@pytest.mark.anyio
async def test_whoever_gives_up_waiting_is_forgotten(anyio_backend: str) -> None:
    """Waits that end by themselves leave nothing behind, in a task or in a thread."""
    cancellation = Cancellation()
    for _ in range(10):
        with anyio.move_on_after(0):
            await cancellation
        assert cancellation.wait(0) is False
    assert cancellation.waiting == 0


def test_a_loop_that_is_closed_is_not_woken() -> None:
    """A worker that cancels what ran on a loop of before is not disturbed by it."""
    cancellation = Cancellation()
    loop = asyncio.new_event_loop()

    async def wait() -> None:
        await cancellation

    task = loop.create_task(wait())
    loop.run_until_complete(asyncio.sleep(0))
    assert cancellation.waiting == 1
    loop.close()
    cancellation.set(CancelReason.STOPPING)
    assert cancellation.is_set()
    coroutine = task.get_coro()
    assert coroutine is not None
    coroutine.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@given(st.integers(0, 10_000_000), st.lists(st.integers(0, 10_000_000), max_size=8), st.integers(1, 999_999))
def test_a_token_is_the_same_in_a_url_and_back(node: int, scope: list[int], attempt: int) -> None:
    """It holds run, token key and attempt, and no character that a URL would change."""
    token = DeferToken(new_run_id(), token_key(node, tuple(scope)), attempt)
    assert quote(token.text, safe="") == token.text
    assert parse_defer_token(token.text) == token
    deferred = context(run_id=token.run_id, token_key=token.token_key, attempt=attempt).defer()
    assert deferred == Deferred(token.text)


def test_a_token_names_the_signal_that_is_waited_for() -> None:
    """Of its step, scope and attempt, so that one of an earlier attempt completes nothing."""
    token = parse_defer_token("run_01J~12-1.3~2")
    assert token == DeferToken("run_01J", "12:1.3", 2)
    assert token.signal == "!defer/12:1.3/2"


NO_TOKENS = """run_1 run_1~12 run_1~12~ run_1~12~0 run_1~12-~1 run_1~x~1 run_1~01~1 ~12~1 run_1~12-1.~1 run_1~12~1~1
    run_1~-1~1 run_1~\u0661~1""".split()


@pytest.mark.parametrize(
    "text", [*NO_TOKENS, "", "run_1~12~1 ", "run_1~12~1\n", "run 1~12~1", "r~1-" + "1." * 600 + "1~1"]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    """By one sentence that shows what one looks like."""
    with pytest.raises(ValueError, match="is no token of a deferred step, like run_01JABC~12~1"):
        parse_defer_token(text)
