"""What is asked of a schedule is checked by field; plans, overlaps, intervals and jitter follow their laws."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.errors import InputInvalid, ScheduleInvalid
from courante.sdk.schedules.cadence import Cadence
from courante.sdk.schedules.input import render_input
from courante.sdk.schedules.interval import Interval
from courante.sdk.schedules.overlap import decide
from courante.sdk.schedules.plan import TOLD_MAX, make_plan
from courante.sdk.schedules.schedule import CatchUp, Overlap, Schedule, cadence_of, check_schedule
from courante.sdk.schedules.tick import Origin, Tick, TickState, delay_of, key_of, submission_of

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
seconds = st.integers(1, 100_000).map(lambda count: count * SECOND)
moments = st.integers(-(10**9), 10**9).map(lambda ms: NOON + timedelta(milliseconds=ms))


def schedule(**fields: Any) -> Schedule:
    if "every_ms" not in fields:
        fields.setdefault("cron", "0 2 * * *")
    wanted: dict[str, Any] = {"id": "nightly", "workflow": "report"} | fields
    return Schedule(**wanted)


def tick(at: int, *, state: TickState = TickState.WAITING, overlap: Overlap = Overlap.SKIP) -> Tick:
    time = NOON + at * SECOND
    run_id = None if state is TickState.WAITING else f"run_{at}"
    return Tick(schedule="s", at=time, origin=Origin.SCHEDULE, overlap=overlap, due_at=time, state=state, run_id=run_id)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"id": "Nightly!"}, "id: 'Nightly!' does not fit"),
        ({"id": 7}, "id: 7 does not fit"),
        ({"workflow": ""}, "workflow: it is empty"),
        ({"version": 0}, "version: 0 is no version number"),
        ({"cron": None}, "cron: wanted either cron or every_ms"),
        ({"cron": "0 2 * * *", "every_ms": 1000}, "cron: wanted either cron or every_ms, not both"),
        ({"cron": "0 25 * * *"}, "cron: '0 25 * * *': bad hour"),
        ({"cron": 7}, "cron: 'int'"),
        ({"timezone": "Europe/Berln"}, "timezone: there is no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?"),
        ({"timezone": "../etc/passwd"}, "timezone: there is no time zone '../etc/passwd'"),
        ({"timezone": "Europe"}, "timezone: there is no time zone 'Europe'"),
        ({"timezone": None}, "timezone: there is no time zone None"),
        ({"every_ms": 1500}, "every_ms: wanted whole seconds"),
        ({"every_ms": 0}, "every_ms: wanted whole seconds"),
        ({"every_ms": 10**12}, "every_ms: wanted whole seconds"),
        ({"anchor": NOON}, "anchor: only an interval"),
        ({"every_ms": 1000, "anchor": NOON + SECOND / 2}, "anchor: wanted whole seconds"),
        ({"jitter_ms": -1}, "jitter_ms: wanted a whole number from 0 to 86,400,000, not -1"),
        ({"grace_ms": True}, "grace_ms: wanted a whole number from 1,000 to 3,600,000, not True"),
        ({"catch_up_max": 0}, "catch_up_max: wanted a whole number from 1 to 1,000, not 0"),
        ({"catch_up": "some"}, "catch_up: wanted one of skip, one, all, not 'some'"),
        ({"overlap": "none"}, "overlap: wanted one of allow, skip,"),
        ({"starts_at": NOON, "ends_at": NOON - SECOND}, "ends_at: 2026-06-01T11:59:59+00:00 is before starts_at"),
        ({"note": "x" * 513}, "note: wanted text of at most 512 characters"),
        ({"by": "a\0b"}, "by: it holds a NUL character"),
        ({"tags": ("t",) * 64}, "tags: 65 of them; at most 64 are allowed"),
        ({"input": {"a": float("nan")}}, "input.a: nan is no JSON number"),
        ({"input": "x" * 2**20}, "input: it has 1,048,578 bytes"),
        ({"input": {"a": {"b": "{{ tick }}"}}}, "input.a.b: "),
        ({"input": ["{{ schedule.tock }}"]}, "input: schedule.tock is not known; known are id, local, origin, tick"),
    ],
)
def test_what_is_wrong_is_said_by_field(fields: dict[str, Any], problem: str) -> None:
    """The error begins with the name of the field."""
    with pytest.raises(ScheduleInvalid) as caught:
        check_schedule(schedule(**fields))
    assert caught.value.message.startswith(problem)
    assert caught.value.problems[0] == caught.value.message


def test_everything_that_is_wrong_is_said_at_once() -> None:
    """Each problem has its line."""
    with pytest.raises(ScheduleInvalid) as caught:
        check_schedule(schedule(id="", cron="?", jitter_ms=-1, overlap="x"))
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["id", "cron", "jitter_ms", "overlap"]


def test_a_checked_schedule_is_in_order() -> None:
    """Words are enums, times are in UTC, and checking it again changes nothing."""
    berlin = datetime(2026, 6, 1, 14, tzinfo=ZoneInfo("Europe/Berlin"))
    checked = check_schedule(schedule(catch_up="all", overlap="allow", starts_at=berlin, input=(1, 2)))
    assert (checked.catch_up, checked.overlap) == (CatchUp.ALL, Overlap.ALLOW)
    assert checked.starts_at is not None and (checked.starts_at, checked.starts_at.tzinfo) == (NOON, UTC)
    assert checked.input == [1, 2]
    assert check_schedule(checked) == checked


@given(seconds, moments, moments)
def test_an_interval_is_anchored(every: timedelta, anchor: datetime, at: datetime) -> None:
    """The times are whole steps from the anchor, and the next one is at most a step away."""
    following = Interval(every, anchor).after(at)
    assert following is not None
    assert at < following <= at + every
    assert (following - anchor) % every == timedelta(0)


@given(seconds, moments, st.integers(0, 30), st.integers(0, 10**6))
def test_the_last_times_are_the_end_of_all(every: timedelta, since: datetime, count: int, span: int) -> None:
    """``last`` looks back and finds what looking forward finds."""
    cadence = Cadence(Interval(every))
    until = since + span * SECOND
    forward = list(cadence.between(since, until)) if span // every.total_seconds() < 2_000 else None
    found = cadence.last(count, since, until)
    assert found == sorted(found)
    assert all(since <= at <= until for at in found)
    if forward is not None:
        assert found == (forward[-count:] if count else [])


def test_nothing_comes_before_the_start_and_after_the_end() -> None:
    """Both bounds may themselves be ticks."""
    cadence = cadence_of(schedule(every_ms=60_000, starts_at=NOON, ends_at=NOON + 120 * SECOND))
    found = cadence.first(10, NOON - timedelta(days=9), NOON + timedelta(days=9))
    assert found == [NOON, NOON + 60 * SECOND, NOON + 120 * SECOND]
    assert cadence.after(NOON + 120 * SECOND) is None


@given(
    st.sampled_from(CatchUp),
    st.integers(1, 20),
    st.integers(1, 400),
    st.integers(0, 20_000),
    st.integers(1, 3_000),
)
def test_a_plan_leaves_no_tick_out(rule: CatchUp, most: int, every: int, late: int, grace: int) -> None:
    """Each tick that has come is started or passed over, by the rule; the next one is the first that has not come."""
    asked = schedule(every_ms=every * 1000, catch_up=rule, catch_up_max=most, grace_ms=grace * 1000)
    cadence = cadence_of(asked)
    first = cadence.after(NOON)
    assert first is not None
    now = first + late * SECOND
    due = list(cadence.between(first, now))
    plan = make_plan(asked, cadence, first, now)
    assert plan.next_tick == cadence.after(now)
    in_time = [at for at in due if at >= now - grace * SECOND]
    expected = {CatchUp.SKIP: in_time, CatchUp.ONE: due[-1:], CatchUp.ALL: due[-most:]}[rule]
    assert plan.start == (due if in_time == due else expected)
    passed = [at for at in due if at not in set(plan.start)]
    assert plan.skip == passed[-TOLD_MAX:]


@given(st.lists(st.sampled_from(Overlap), max_size=8), st.integers(0, 2))
def test_an_overlap_rule_holds(rules: list[Overlap], count: int) -> None:
    """Only ``allow`` starts beside another run; nothing is decided twice; what waits is at most what its rule lets."""
    running = [tick(-9 + n, state=TickState.STARTED) for n in range(count)]
    due = [tick(n, overlap=rule) for n, rule in enumerate(rules)]
    decision = decide(running, due)
    skipped = [one for one, _ in decision.skip]
    waiting = [one for one in due if one not in decision.start and one not in skipped]
    assert len(decision.start) + len(skipped) + len(waiting) == len(due)
    beside = [one for one in decision.start if one.overlap is not Overlap.ALLOW]
    assert len(beside) <= (0 if running else 1)
    assert all(one in decision.start for one in due if one.overlap is Overlap.ALLOW)
    assert not any(one.overlap is Overlap.SKIP for one in waiting)
    assert not any(one.overlap is Overlap.BUFFER_ALL for one in skipped)
    for rule in (Overlap.BUFFER_ONE, Overlap.CANCEL_PREVIOUS):
        assert sum(one.overlap is rule for one in waiting) <= 1
    if due and not running:
        assert decision.start
    replaced = any(one.overlap is Overlap.CANCEL_PREVIOUS for one in waiting)
    assert decision.cancel == (running if replaced else [])


def test_jitter_is_the_same_for_the_same_tick() -> None:
    """A tick always waits for as long, ticks differ, and none waits longer than allowed."""
    asked = schedule(jitter_ms=60_000)
    delays = [delay_of(asked, NOON + n * SECOND) for n in range(200)]
    assert delays == [delay_of(asked, NOON + n * SECOND) for n in range(200)]
    assert len(set(delays)) > 150
    assert all(timedelta(0) <= delay <= timedelta(minutes=1) for delay in delays)
    assert delay_of(schedule(), NOON) == timedelta(0)


def test_the_input_tells_of_the_tick() -> None:
    """Templates know the tick in UTC and in the zone of the schedule, whenever its run is started."""
    asked = schedule(
        timezone="Europe/Berlin",
        input={
            "day": "{{ schedule.local.substring(0, 10) }}",
            "hour_before": "{{ timestamp(schedule.tick) - duration('1h') }}",
            "text": "{{ schedule.id }} by {{ schedule.origin }}",
            "n": 1,
        },
    )
    at = datetime(2026, 6, 1, 22, 30, tzinfo=UTC)
    assert render_input(check_schedule(asked), at, "backfill") == {
        "day": "2026-06-02",
        "hour_before": "2026-06-01T21:30:00Z",
        "text": "nightly by backfill",
        "n": 1,
    }


def test_an_input_without_value_says_so() -> None:
    """An expression that fails at a tick names itself as input."""
    with pytest.raises(InputInvalid, match=r"^input: "):
        render_input(schedule(input="{{ timestamp(schedule.id) }}"), NOON, "schedule")


def test_a_key_is_made_of_schedule_and_tick() -> None:
    """And of nothing else, whoever asks for the tick."""
    assert key_of("nightly", NOON) == "schedule:nightly:2026-06-01T12:00:00Z"
    assert key_of("nightly", NOON + timedelta(milliseconds=5)) == "schedule:nightly:2026-06-01T12:00:00.005Z"
    asked = submission_of(schedule(by="ada", tags=("t",)), tick(0))
    assert (asked.key, asked.trigger) == ("schedule:nightly:2026-06-01T12:00:00Z", "schedule")
    assert (asked.by, asked.tags) == ("ada", ("t", "schedule:nightly"))
