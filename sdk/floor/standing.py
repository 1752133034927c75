"""Standing: what Redis and Postgres say of one partition, and whether the one can go on where the other is.

``look`` reads, ``judge`` decides; nothing here changes anything. The log is the truth about what happened, Redis about
what has not been recorded yet. Where they differ, one of the two has lost something, and which of them decides what is
to be done: a Redis that is behind is rebuilt from the log, a Postgres that is behind needs a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec
from redis.asyncio import Redis

from ..errors import ServiceUnavailable
from ..keys import PartitionKeys
from ..moments import from_ms
from ..stores.connection import Connection
from ..stores.cursors import START, Cursor, entry_digest, open_cursor
from ..stores.homes import Home, read_home

STANDBY_S = 10.0
"""A partition that a supervisor has seen open elsewhere of late is not recovered here."""
TRIES = 20
"""Looks at a partition whose cursor moves all the time, before its outbox is left unjudged."""


class Verdict(StrEnum):
    """``SOUND``: go on. ``MOVED``: another server, or a restarted one, with nothing missing. ``LOST``: Redis is behind.

    ``BEHIND``: Postgres is. ``ELSEWHERE``: the partition is open on another Redis, where a supervisor sees it.
    """

    SOUND = "sound"
    MOVED = "moved"
    LOST = "lost"
    BEHIND = "behind"
    ELSEWHERE = "elsewhere"


class Mark(NamedTuple):
    """An outbox entry, in short. ``at_ms``: Redis time of the call that wrote it."""

    entry_id: str
    epoch: int
    seq: int
    at_ms: int


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """``epoch`` and ``closed_for``: in Redis, 0 where there is none. ``first`` and ``last``: entries of the outbox.

    ``restored``: calls of the recovery that closed it. ``recorded``: up to where Redis knows the outbox to be in the
    log. ``continues``: the cursor's entry is there as it was recorded, or the outbox begins right after it; None where
    the outbox was not looked at.
    """

    cursor: Cursor
    home: Home | None
    incarnation: str
    epoch: int = 0
    closed_for: int = 0
    restored: int = 0
    partition_seq: int = 0
    recorded: int = 0
    first: Mark | None = None
    last: Mark | None = None
    continues: bool | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """``reason``: a sentence for people."""

    verdict: Verdict
    reason: str
    look: Look


async def look(
    redis: Redis, conn: Connection, env: str, keys: PartitionKeys, partition: int, *, outbox: bool = True
) -> Look:
    """Look at a partition; the cursor is made where there is none. outbox: also at what stands in it.

    Redis is seen between two looks at the cursor, and again where that has moved meanwhile: a recorder may be at work.
    Raises what the clients raise.
    """
    cursor = await open_cursor(conn, env, partition)
    home = await read_home(conn, env, partition)
    found = Look(cursor=cursor, home=home, incarnation="")
    for _ in range(TRIES):
        found = await _look_at_redis(redis, keys, cursor, home, outbox=outbox)
        before, cursor = cursor, await open_cursor(conn, env, partition)
        if before == cursor or (not outbox and before.epoch == cursor.epoch):
            return found
    return msgspec.structs.replace(found, cursor=cursor, first=None, last=None, continues=None)


async def _look_at_redis(redis: Redis, keys: PartitionKeys, cursor: Cursor, home: Home | None, *, outbox: bool) -> Look:
    pipe = redis.pipeline(transaction=outbox)
    pipe.hmget(keys.meta, ["epoch", "next", "restored", "pseq", "recorded"])  # pyright: ignore[reportUnusedCoroutine]
    pipe.info("server")  # pyright: ignore[reportUnusedCoroutine]
    if outbox:
        pipe.xrange(keys.outbox, "-", "+", count=1)  # pyright: ignore[reportUnusedCoroutine]
        pipe.xrevrange(keys.outbox, "+", "-", count=1)  # pyright: ignore[reportUnusedCoroutine]
        at = "0-1" if cursor.entry_id == START else cursor.entry_id
        pipe.xrange(keys.outbox, at, at)  # pyright: ignore[reportUnusedCoroutine]
    meta, server, *entries = await pipe.execute()
    epoch, closed_for, restored, sequence, recorded = (int(value or 0) for value in meta)
    found = Look(
        cursor=cursor,
        home=home,
        incarnation=str(server.get("run_id", "")),
        epoch=epoch,
        closed_for=closed_for,
        restored=restored,
        partition_seq=sequence,
        recorded=recorded,
    )
    if not outbox:
        return found
    first, last = (_mark(*page[0]) if page else None for page in entries[:2])
    if cursor.entry_id == START:
        continues = (sequence if first is None else first.seq - 1) == cursor.partition_seq
    else:
        continues = bool(entries[2]) and entry_digest(entries[2][0][1]) == cursor.entry_digest
    return msgspec.structs.replace(found, first=first, last=last, continues=continues)


def judge(found: Look, partition: int, *, standby_s: float = STANDBY_S) -> Standing:
    """Say how a partition stands. Where the outbox was not looked at, only what the epochs tell."""

    def stands(verdict: Verdict, reason: str) -> Standing:
        return Standing(verdict=verdict, reason=f"partition {partition}: {reason}", look=found)

    cursor = found.cursor
    known = max(found.epoch, found.closed_for)
    if known > cursor.epoch:
        return stands(
            Verdict.BEHIND,
            f"Redis is in epoch {known}, and Postgres has given out none after {cursor.epoch}: Postgres was set back, "
            "or the two do not belong together",
        )
    has_gap = found.continues is False and _begins_with(found) > cursor.partition_seq + 1
    if has_gap and found.recorded > cursor.partition_seq:
        return stands(Verdict.BEHIND, f"{_gap(found)}. They had been recorded: Postgres was set back")
    if found.epoch < cursor.epoch:
        if _is_elsewhere(found, standby_s):
            return stands(
                Verdict.ELSEWHERE,
                f"it is open on another Redis in epoch {cursor.epoch}, where it was seen within {standby_s:g} s",
            )
        if found.closed_for:
            return stands(Verdict.LOST, f"its recovery in epoch {found.closed_for} was not finished")
        was = f"is in epoch {found.epoch}" if found.epoch else "has no epoch"
        return stands(Verdict.LOST, f"Redis {was} and the log is in {cursor.epoch}: Redis has lost data")
    if has_gap:
        return stands(Verdict.LOST, f"{_gap(found)}. Nobody has recorded them: Redis has lost a part of the outbox")
    if found.continues is False:
        return stands(
            Verdict.LOST,
            f"the log is at entry {cursor.partition_seq} of the outbox, which Redis "
            f"{'has otherwise' if found.partition_seq >= cursor.partition_seq else 'has not'}: Redis was set back",
        )
    if found.home is not None and found.incarnation and found.home.incarnation != found.incarnation:
        return stands(Verdict.MOVED, "its Redis was restarted or replaced")
    return stands(Verdict.SOUND, "Redis goes on where the log is")


def refuse_behind(standing: Standing) -> None:
    """Raise ServiceUnavailable where Postgres is behind Redis: what to do then is for a person to decide."""
    if standing.verdict is Verdict.BEHIND:
        raise ServiceUnavailable(standing.reason, hint=BEHIND_HINT)


BEHIND_HINT = (
    "restore a Postgres that has the missing entries, or are the two URLs of different installations? Only if the "
    "entries are gone for good: 'courante recover --accept-loss' takes the log as it is, and what came later is undone"
)


def _begins_with(found: Look) -> int:
    """The sequence of the oldest entry of the outbox, or of the next one."""
    return found.partition_seq + 1 if found.first is None else found.first.seq


def _gap(found: Look) -> str:
    """Which entries are missing, and of what time is what comes after them."""
    ends, begins = found.cursor.partition_seq, _begins_with(found)
    since = "" if found.first is None else f" of {from_ms(found.first.at_ms).isoformat(timespec='seconds')}"
    return (
        f"the log ends with entry {ends} of the outbox, and Redis begins with entry {begins}{since}: entries "
        f"{ends + 1} to {begins - 1} are in neither"
    )


def _is_elsewhere(found: Look, standby_s: float) -> bool:
    home = found.home
    if home is None or not found.incarnation or home.incarnation == found.incarnation:
        return False
    return home.epoch == found.cursor.epoch and home.unseen_s < standby_s


def _mark(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Mark:
    """An entry that is none of ours counts as one of before the beginning: it continues nothing."""
    try:
        epoch, seq, at_ms = map(int, fields[b"h"].split(b" "))
    except (KeyError, ValueError):
        return Mark(entry_id.decode(), 0, 0, 0)
    return Mark(entry_id.decode(), epoch, seq, at_ms)
