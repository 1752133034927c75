"""The layout of a run in Redis, as lua/KEYS.md describes it. All that the checker knows of it stands here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from redis.asyncio import Redis

TIMED = frozenset("tgw")
"""Places of tokens that a timer may wake: parked, given back, waiting for a signal."""
WAITING = frozenset("twmsc")
"""Places of tokens that wait: in the timers, for a signal, for a mutex, for the rest of their run to be gone."""


@dataclass(frozen=True)
class LiveToken:
    """A record of the ledger. ``entry``: the entry id while it is queued, when it is due in ms while it is parked."""

    fence: str
    place: str
    deliveries: int
    entry: str
    kind: str
    stream: str
    attempt: int


@dataclass
class LiveRun:
    """``unfinished``: half-filled joins and open maps. ``tokens``, ``joins`` and ``maps`` by token key, ``values`` by
    field: ``in``, ``o<token>`` and the like.
    """

    phase: str
    counter: int
    seq: int
    unfinished: int
    tokens: dict[str, LiveToken] = field(default_factory=dict[str, LiveToken])
    joins: dict[str, str] = field(default_factory=dict[str, str])
    maps: dict[str, str] = field(default_factory=dict[str, str])
    values: dict[str, bytes] = field(default_factory=dict[str, bytes])


@dataclass
class LivePartition:
    """``timers``: member to due time. ``entries``: per queue stream, entry id to what it wakes."""

    base: str
    epoch: int = 0
    sequence: int = 0
    runs: dict[str, LiveRun] = field(default_factory=dict[str, LiveRun])
    timers: dict[str, float] = field(default_factory=dict[str, float])
    entries: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    done: int = 0
    submitted: int = 0


async def read_partition(redis: Redis, env: str, number: int) -> LivePartition:
    """Read everything of one partition. Nothing may move meanwhile."""
    base = f"courante:{env}:{{{number}}}:"
    found = LivePartition(base)
    meta = await _hash(redis, f"{base}meta")
    found.epoch, found.sequence = int(meta.get(b"epoch", b"0")), int(meta.get(b"pseq", b"0"))
    async for key in redis.scan_iter(match=_literal(base) + "run:*", count=1_000):
        run_id = key.decode().removeprefix(f"{base}run:")
        if fields := await _hash(redis, key.decode()):  # else its time-to-live has just passed
            found.runs[run_id] = read_run(fields)
    timers = await redis.execute_command("ZRANGE", f"{base}timers", "0", "-1", "WITHSCORES")
    found.timers = {member.decode(): float(due) for member, due in cast("list[tuple[bytes, float]]", timers)}
    async for key in redis.scan_iter(match=_literal(base) + "q:*", count=1_000):
        entries = await redis.xrange(key)
        stream = key.decode().removeprefix(f"{base}q:")
        found.entries[stream] = {entry.decode(): fields.get(b"t", b"").decode() for entry, fields in entries}
    found.done = int(await redis.xlen(f"{base}done"))
    found.submitted = int(await redis.xlen(f"{base}submit"))
    return found


def read_run(fields: dict[bytes, bytes]) -> LiveRun:
    """Read a run from its hash. Raises ValueError for what no script writes."""
    if b"h" not in fields:
        raise ValueError(f"a run has no head, and fields {sorted(fields)}")
    phase, counter, seq, unfinished, *_ = fields[b"h"].decode().split("|")
    run = LiveRun(phase, int(counter), int(seq), int(unfinished))
    for name, value in fields.items():
        field = name.decode()
        if field[0] == "t" and (field[1:2].isdigit() or field[1:2] == "-"):
            run.tokens[field[1:]] = _token(value.decode())
        elif field[0] == "j" and field[1:2].isdigit():
            run.joins[field[1:]] = value.decode()
        elif field[0] == "n" and field[1:2].isdigit() and value != b"x":
            run.maps[field[1:]] = value.decode()
        elif field in ("in", "out") or (field[0] in "oiselv" and field[1:2].isdigit()):
            run.values[field] = value
    return run


def _token(record: str) -> LiveToken:
    fence, place, deliveries, entry, kind, stream, attempt, *_ = record.split("|")
    return LiveToken(fence, place, int(deliveries), entry, kind, stream.partition("~")[0], int(attempt))


async def _hash(redis: Redis, key: str) -> dict[bytes, bytes]:
    return cast("dict[bytes, bytes]", await redis.execute_command("HGETALL", key))


def _literal(text: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[]" else letter for letter in text)
