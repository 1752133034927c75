"""What Redis and Postgres say of a partition, held against each other: every case has its verdict."""

from __future__ import annotations

from typing import Any

import pytest

from courante.sdk.errors import ServiceUnavailable
from courante.sdk.floor.standing import Look, Mark, Verdict, judge, refuse_behind
from courante.sdk.stores.cursors import START, Cursor
from courante.sdk.stores.homes import Home

SOUND = Look(
    cursor=Cursor(3, 70, "5-0", b"digest"),
    home=Home(3, "here", 0.1),
    incarnation="here",
    epoch=3,
    partition_seq=72,
    recorded=60,
    first=Mark("4-0", 3, 65, 1_000),
    last=Mark("7-0", 3, 72, 2_000),
    continues=True,
)
"""The log is at entry 70, Redis at 72; entries from 65 on still stand in the outbox."""


def changed(**fields: Any) -> Look:
    values = {name: getattr(SOUND, name) for name in SOUND.__struct_fields__}
    return Look(**(values | fields))


EMPTY: dict[str, Any] = {
    "epoch": 0,
    "partition_seq": 0,
    "recorded": 0,
    "first": None,
    "last": None,
    "continues": False,
}
CASES: list[tuple[str, dict[str, Any], Verdict, str]] = [
    ("it goes on", {}, Verdict.SOUND, "goes on where the log is"),
    ("the outbox was not looked at", {"continues": None, "first": None, "last": None}, Verdict.SOUND, "goes on"),
    ("all is recorded and trimmed", {"cursor": Cursor(3, 72, START, b""), "first": None}, Verdict.SOUND, "goes on"),
    ("nothing has happened yet", {"home": None}, Verdict.SOUND, "goes on"),
    ("the server was restarted", {"incarnation": "new"}, Verdict.MOVED, "restarted or replaced"),
    ("restarted, and its end is lost", {"incarnation": "new", "continues": False, "partition_seq": 69,
        "first": Mark("4-0", 3, 65, 1_000)}, Verdict.LOST, "set back"),
    ("emptied", EMPTY, Verdict.LOST, "has no epoch and the log is in 3"),
    ("emptied, on another server", EMPTY | {"incarnation": "new", "home": Home(3, "here", 60.0)}, Verdict.LOST, "lost"),
    ("emptied, and alive elsewhere", EMPTY | {"incarnation": "new", "home": Home(3, "here", 1.0)},
        Verdict.ELSEWHERE, "open on another Redis in epoch 3"),
    ("an older epoch", {"epoch": 2}, Verdict.LOST, "is in epoch 2 and the log is in 3"),
    ("an older epoch, and alive elsewhere", {"epoch": 2, "incarnation": "old", "home": Home(3, "here", 1.0)},
        Verdict.ELSEWHERE, "open on another"),
    ("a recovery died in the middle", EMPTY | {"closed_for": 3}, Verdict.LOST, "in epoch 3 was not finished"),
    ("the cursor's entry is another one", {"continues": False}, Verdict.LOST, "which Redis has otherwise"),
    ("the cursor's entry is not there", {"continues": False, "partition_seq": 66, "last": Mark("4-1", 3, 66, 1_500)},
        Verdict.LOST, "which Redis has not"),
    ("a hole that nobody has recorded", {"continues": False, "first": Mark("6-0", 3, 72, 2_000)}, Verdict.LOST,
        "entries 71 to 71 are in neither. Nobody has recorded them"),
    ("a hole that was recorded", {"continues": False, "first": Mark("6-0", 3, 72, 2_000), "recorded": 71},
        Verdict.BEHIND, "They had been recorded: Postgres was set back"),
    ("everything recorded and trimmed, which Postgres has not", {"continues": False, "first": None, "last": None,
        "partition_seq": 90, "recorded": 90}, Verdict.BEHIND, "entries 71 to 90 are in neither"),
    ("a later epoch in Redis", {"epoch": 4}, Verdict.BEHIND, "Redis is in epoch 4, and Postgres has given out none"),
    ("closed for a later epoch", EMPTY | {"closed_for": 5}, Verdict.BEHIND, "Redis is in epoch 5"),
    ("Postgres is behind, also of a restarted server", {"incarnation": "new", "epoch": 4}, Verdict.BEHIND, "epoch 4"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "verdict", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_verdict(fields: dict[str, Any], verdict: Verdict, reason: str) -> None:
    """The sentence says what is wrong; only a Postgres that is behind is for a person to decide."""
    found = judge(changed(**fields), 7)
    assert found.verdict is verdict
    assert found.reason.startswith("partition 7: ")
    assert reason in found.reason
    if verdict is Verdict.BEHIND:
        with pytest.raises(ServiceUnavailable, match="partition 7: ") as refused:
            refuse_behind(found)
        assert "--accept-loss" in refused.value.hint
    else:
        refuse_behind(found)


def test_how_long_somebody_elsewhere_counts() -> None:
    """A home that was not seen for longer than the time of standby is none any more."""
    look = changed(**EMPTY, incarnation="new", home=Home(3, "here", 9.9))
    assert judge(look, 0).verdict is Verdict.ELSEWHERE
    assert judge(look, 0, standby_s=5.0).verdict is Verdict.LOST
