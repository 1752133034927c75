"""A watch over an event loop that answers, does not answer, or cannot because its process does not run."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest
from structlog.testing import capture_logs

from courante.runner import loop_watch
from courante.runner.loop_watch import LOOK_S_MAX, LoopWatch


class Clock:
    """In place of the module ``time``."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(loop_watch, "time", made)
    return made


def look(watch: LoopWatch, clock: Clock, *passed_s: float) -> None:
    """Look from another thread, after each of these times."""

    def looks() -> None:
        for each in passed_s:
            clock.now += each
            watch.look()

    thread = threading.Thread(target=looks)
    thread.start()
    thread.join()


def test_a_loop_that_is_blocked_is_told_once_with_the_line(clock: Clock) -> None:
    """And again when it answers, with how long that took."""

    async def blocks() -> None:
        watch = LoopWatch("w", lambda _: None)
        watch.start(asyncio.get_running_loop())
        look(watch, clock, 0.5, 0.5, 0.5, 0.5, 0.5)
        assert watch.blocked_s == 2.0
        await asyncio.sleep(0)
        look(watch, clock, 0.5)
        assert watch.blocked_s == 0.0

    with capture_logs() as lines:
        asyncio.run(blocks())
    told, again = lines
    assert (told["event"], told["log_level"], told["blocked_ms"]) == ("loop_blocked", "warning", 1_000)
    assert told["at"].endswith("in test_a_loop_that_is_blocked_is_told_once_with_the_line.<locals>.blocks")
    assert (again["event"], again["blocked_ms"]) == ("loop_answers_again", 2_000)


def test_a_loop_that_answers_is_not_spoken_of(clock: Clock) -> None:
    """However long it takes between two looks."""

    async def answers() -> None:
        watch = LoopWatch("w", lambda _: None)
        watch.start(asyncio.get_running_loop())
        for _ in range(5):
            look(watch, clock, 60.0)
            await asyncio.sleep(0)

    with capture_logs() as lines:
        asyncio.run(answers())
    assert lines == []


def test_a_process_that_was_stopped_has_blocked_nothing(clock: Clock) -> None:
    """An hour between two looks is not an hour in which the loop did not answer."""

    async def is_stopped() -> None:
        watch = LoopWatch("w", lambda _: None)
        watch.start(asyncio.get_running_loop())
        look(watch, clock, 0.5, 3_600.0)
        assert watch.blocked_s == LOOK_S_MAX

    asyncio.run(is_stopped())


def names_of(thread: threading.Thread) -> set[str]:
    """What a thread is doing now."""
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
    frame = frames.get(thread.ident or 0)
    return set() if frame is None else {frame.f_code.co_name}


class Deaf(asyncio.SelectorEventLoop):
    """Does not hear what other threads tell it, but for ``rouse``."""

    def call_soon_threadsafe(self, *_arguments: object, **_more: object) -> asyncio.Handle:
        return asyncio.Handle(int, (), self)

    def rouse(self, event: asyncio.Event) -> None:
        super().call_soon_threadsafe(event.set)


def test_a_loop_that_only_waits_is_a_slow_machine(clock: Clock) -> None:
    """Nobody is warned of a step where there is none."""
    watch, loop, ends = LoopWatch("w", lambda _: None), Deaf(), asyncio.Event()

    async def waits() -> None:
        watch.start(loop)
        await ends.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(waits(),))
    thread.start()
    while "select" not in names_of(thread):
        time.sleep(0.01)
    with capture_logs() as lines:
        look(watch, clock, *[0.5] * 4)
    loop.rouse(ends)
    thread.join()
    loop.close()
    assert [(line["event"], line["log_level"]) for line in lines] == [("loop_blocked", "info")]
