"""Cron expressions name a fixed set of times in every time zone, and clocks that are set lose and double none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from courante.sdk.schedules.cron import Cron, CronError

MINUTE = timedelta(minutes=1)
CHANGES = {
    "Europe/Berlin": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "America/New_York": ["2026-03-08T07:00", "2026-11-01T06:00"],
    "America/St_Johns": ["2026-03-08T05:30", "2026-11-01T04:30"],
    "Australia/Lord_Howe": ["2026-04-04T15:00", "2026-10-03T15:30"],  # half an hour
    "Antarctica/Troll": ["2026-03-29T01:00", "2026-10-25T01:00"],  # two hours
    "America/Scoresbysund": ["2024-03-31T01:00", "2026-10-25T01:00"],  # at midnight, two changes on one day
    "Africa/Casablanca": ["2026-02-15T02:00", "2026-03-22T02:00"],  # back in spring: a month without summer time
    "America/Havana": ["2026-03-08T05:00", "2026-11-01T05:00"],  # midnight itself does not exist
    "Asia/Beirut": ["2026-03-28T22:00", "2026-10-24T21:00"],
    "Pacific/Apia": ["2011-12-30T10:00"],  # a whole day does not exist
    "Asia/Pyongyang": ["2015-08-14T15:00", "2018-05-04T15:00"],  # half an hour, for good
    "Asia/Kolkata": [],
    "UTC": [],
}


@dataclass(frozen=True)
class Field:
    """One field of an expression, and the numbers that it means."""

    text: str
    numbers: frozenset[int]


def field(numbers: range) -> st.SearchStrategy[Field]:
    whole = frozenset(numbers)
    some = st.sets(st.sampled_from(list(numbers)), min_size=1, max_size=4).map(
        lambda found: Field(",".join(map(str, sorted(found))), frozenset(found))
    )
    step = st.integers(2, 20).map(lambda size: Field(f"*/{size}", frozenset(list(numbers)[::size])))
    return st.one_of(st.just(Field("*", whole)), some, step)


@st.composite
def places(draw: st.DrawFn) -> tuple[str, datetime]:
    """A time zone, and a time near one of its changes of clocks, or any."""
    name = draw(st.sampled_from(list(CHANGES)))
    near = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in CHANGES[name]]
    any_time = st.integers(0, 2_000_000).map(lambda minutes: datetime(2024, 1, 1, tzinfo=UTC) + minutes * MINUTE)
    at = draw(st.one_of(st.sampled_from(near), any_time) if near else any_time)
    return name, at


def wall(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def times_by_looking(minute: Field, hour: Field, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """What is wanted, found by looking at the clock on the wall in each minute."""

    def names(shown: datetime) -> bool:
        return shown.minute in minute.numbers and shown.hour in hour.numbers

    found: list[datetime] = []
    at = begin
    while at <= end:
        shown, before = wall(at, zone), wall(at - MINUTE, zone)
        is_first = at.astimezone(zone).fold == 0
        if hour.text.startswith("*"):
            is_named = names(shown)
        else:
            left_out = [before + n * MINUTE for n in range(1, (shown - before) // MINUTE)]
            is_named = (names(shown) and is_first) or any(map(names, left_out))
        if is_named:
            found.append(at)
        at += MINUTE
    return found


def times(cron: Cron, begin: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    at = cron.after(begin - timedelta(seconds=1))
    while at is not None and at <= end:
        found.append(at)
        at = cron.after(at)
    return found


@settings(max_examples=250)
@given(minute=field(range(60)), hour=field(range(24)), place=places(), shift=st.integers(-300, 300))
def test_the_times_are_those_that_a_clock_on_the_wall_shows(
    minute: Field, hour: Field, place: tuple[str, datetime], shift: int
) -> None:
    """Around every change of clocks the times are those found by looking at each minute."""
    zone = ZoneInfo(place[0])
    begin = place[1] + shift * MINUTE
    end = begin + timedelta(hours=7)
    cron = Cron(f"{minute.text} {hour.text} * * *", zone)
    assert times(cron, begin, end) == times_by_looking(minute, hour, zone, begin, end)


@settings(max_examples=250)
@given(minute=field(range(60)), hour=field(range(24)), place=places(), seconds=st.integers(-20_000, 20_000))
def test_the_next_time_does_not_depend_on_where_one_looks_from(
    minute: Field, hour: Field, place: tuple[str, datetime], seconds: int
) -> None:
    """From any moment between two times the later one is the next, and from a time itself the one after it."""
    cron = Cron(f"{minute.text} {hour.text} * * *", ZoneInfo(place[0]))
    at = place[1] + timedelta(seconds=seconds, milliseconds=seconds % 1000)
    following = cron.after(at)
    assert following is not None and following > at
    middle = at + (following - at) / 2
    assert cron.after(middle) == following
    assert cron.after(following - timedelta(microseconds=1)) == following
    beyond = cron.after(following)
    assert beyond is not None and beyond > following


def local_times(expression: str, zone: str, begin: str, count: int) -> list[str]:
    found: list[str] = []
    at: datetime | None = datetime.fromisoformat(begin)
    cron = Cron(expression, ZoneInfo(zone))
    for _ in range(count):
        assert at is not None
        at = cron.after(at)
        assert at is not None
        found.append(at.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes"))
    return found


def test_a_named_time_that_does_not_exist_comes_when_clocks_go_on() -> None:
    """Half past two is left out by the clock on the wall, and not by the schedule."""
    assert local_times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00+01:00", 2) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]


def test_a_named_time_that_comes_twice_counts_once() -> None:
    """The first half past two of that night has the run, the second one has none."""
    assert local_times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00+02:00", 2) == [
        "2026-10-25T02:30+02:00",
        "2026-10-26T02:30+01:00",
    ]


def test_what_comes_every_so_often_keeps_its_pace() -> None:
    """An expression that names no hours goes on through both of the hours between two and three."""
    assert local_times("*/30 * * * *", "Europe/Berlin", "2026-10-25T02:10+02:00", 4) == [
        "2026-10-25T02:30+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T02:30+01:00",
        "2026-10-25T03:00+01:00",
    ]


@pytest.mark.parametrize(
    ("expression", "following"),
    [
        ("@hourly", "2026-01-01T01:00:00+00:00"),
        ("@Daily", "2026-01-02T00:00:00+00:00"),
        ("*/10 * * * * *", "2026-01-01T00:00:10+00:00"),
        ("0 9 * * MON-FRI", "2026-01-01T09:00:00+00:00"),
        ("0 0 L * *", "2026-01-31T00:00:00+00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00:00+00:00"),
        ("0 0 * * 5#3", "2026-01-16T00:00:00+00:00"),
        ("0 0 13 * FRI", "2026-01-02T00:00:00+00:00"),  # either day, as cron has it
    ],
)
def test_the_words_of_cron(expression: str, following: str) -> None:
    """What people write in crontabs is understood."""
    found = Cron(expression).after(datetime(2026, 1, 1, tzinfo=UTC))
    assert found is not None and found.isoformat() == following


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields; wanted 5"),
        ("60 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * * * MOON", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("@reboot", "1 fields"),
        ("1," * 200 + "1 * * * *", "at most 256"),
    ],
)
def test_what_is_no_cron_expression_is_refused(expression: str, words: str) -> None:
    """The error says which field is wrong."""
    with pytest.raises(CronError, match=words):
        Cron(expression)


@settings(max_examples=300)
@given(st.text(alphabet="0123456789*/-,#LWMONa@ ", max_size=24))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but CronError comes out of reading an expression, and what is read has a time that comes."""
    try:
        cron = Cron(text)
    except CronError:
        return
    assert cron.after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


def test_there_is_an_end() -> None:
    """Nothing comes after the year 2200."""
    assert Cron("0 0 1 1 *").after(datetime(2200, 6, 1, tzinfo=UTC)) is None
    assert Cron("0 0 1 1 *").after(datetime(9999, 6, 1, tzinfo=UTC)) is None
