"""Steps that a worker cannot run are given back: shortly at first, then for longer, never in step with anything."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from courante.runner.elsewhere import (
    DELAY_MS_MAX,
    DELAY_MS_MIN,
    FORGOTTEN_S,
    STEPS_MAX,
    WANTED_MAX,
    WANTED_S,
    Elsewhere,
)
from courante.runner.listener import BLOCK_MS
from courante.sdk.floor.presence import Wanted


def test_a_step_comes_back_at_once_and_then_less_and_less_often() -> None:
    """From a moment to a second, and each time after another while."""
    elsewhere = Elsewhere()
    delays = [elsewhere.delay_ms("run_1", "a", float(second)) for second in range(40)]
    assert delays[0] <= DELAY_MS_MIN
    assert sum(delays[:3]) < DELAY_MS_MAX / 2
    assert all(DELAY_MS_MAX / 2 <= delay <= DELAY_MS_MAX for delay in delays[6:])
    assert len(set(delays[6:])) > 20


@given(st.lists(st.integers(0, 3), max_size=60), st.floats(0, 10))
def test_each_step_is_counted_by_itself(order: list[int], pause_s: float) -> None:
    """What came of others changes nothing of how long a step stays away."""
    together = Elsewhere()
    apart = [Elsewhere() for _ in range(4)]
    for at, number in enumerate(order):
        told = together.delay_ms("run_1", str(number), at * pause_s / 10)
        assert told == apart[number].delay_ms("run_1", str(number), at * pause_s / 10)


def test_what_has_not_come_for_a_minute_is_new() -> None:
    """Nothing is kept of it."""
    elsewhere = Elsewhere()
    first = elsewhere.delay_ms("run_1", "a", 0.0)
    elsewhere.delay_ms("run_1", "a", 1.0)
    assert elsewhere.delay_ms("run_1", "a", 1.0 + FORGOTTEN_S) == first


def test_too_many_to_count_stay_away_for_long() -> None:
    """Nobody asks again and again for thousands of steps that it has forgotten each time."""
    elsewhere = Elsewhere()
    for number in range(STEPS_MAX):
        elsewhere.delay_ms("run_1", str(number), 0.0)
    assert elsewhere.delay_ms("run_2", "a", 1.0) >= DELAY_MS_MAX / 2
    assert elsewhere.delay_ms("run_1", "0", 1.0) <= 2 * DELAY_MS_MIN


def test_what_is_wanted_is_told_while_steps_ask_for_it() -> None:
    """Each once, the one that was asked for last behind the others; many are not all told."""
    elsewhere = Elsewhere()
    charge, pack = Wanted("charge", "default", "shop", "a"), Wanted("pack", "default", "shop", "b")
    elsewhere.want([charge, pack], 0.0)
    elsewhere.want([charge], 1.0)
    assert elsewhere.wanted(1.0) == [pack, charge]
    assert elsewhere.wanted(WANTED_S) == [charge]
    assert elsewhere.wanted(1.0 + WANTED_S) == []
    elsewhere.want([charge._replace(handler=str(number)) for number in range(WANTED_MAX + 1)], 20.0)
    assert len(elsewhere.wanted(20.0)) == WANTED_MAX


PHASES = st.lists(st.integers(0, BLOCK_MS - 1), min_size=1, max_size=3)
LATE_MS = 100
"""A server looks so often whether a read is over, and a supervisor at the timers."""


def deliveries(delay_ms: Callable[[], int], strangers: list[int], ready: list[int], read_ms: int) -> int:
    """Return how often a step is delivered until a worker that has its handler is given it; 100 where none is.

    A model of the line of reads: who has waited longest is given the step, and a read that ends by itself, after
    ``read_ms``, begins again behind all others. The numbers say when reads began.
    """
    line = [(began, False) for began in strangers] + [(began, True) for began in ready]
    now = read_ms
    for delivered in range(1, 100):
        line = sorted((began + (now - began) // read_ms * read_ms, is_ready) for began, is_ready in line)
        if line.pop(0)[1]:
            return delivered
        line.append((now + 5, False))
        now = -(-(now + delay_ms()) // LATE_MS) * LATE_MS
    return 100


@given(PHASES, PHASES, st.integers(BLOCK_MS, BLOCK_MS + LATE_MS))
def test_who_can_run_a_step_is_given_it_soon(strangers: list[int], ready: list[int], read_ms: int) -> None:
    """However the reads of the workers fall."""
    elsewhere = Elsewhere()
    tries = deliveries(lambda: elsewhere.delay_ms("run_1", "a", 0.0), strangers, ready, read_ms)
    assert tries <= 20
