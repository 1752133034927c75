"""Losing: everything that Redis has of a run goes, and comes back from its log, in the next epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from courante.sdk.floor.repairs import clear_partition, close_partition, reopen_partition, restore_runs
from courante.sdk.floor.restoring import restore, restore_calls

if TYPE_CHECKING:
    from courante.sdk.marking.marking import Marking
    from courante.sdk.marking.plan import Plan
    from model.hands import Hands


QUEUED = (b"q", b"g", b"p")
"""Places that come to the same: in a queue, given back, or put aside by a pause."""
SWEEPS = (b"w", b"u")
"""Kinds of tokens that walk over the run: where they are is not in the log."""


async def lose_and_restore(hands: Hands, run_id: str, plan: Plan, marking: Marking) -> None:
    """Restore a run from the marking that its log came to; field by field it must be as it was."""
    before = await _fields(hands, run_id)
    epoch = int((await hands.redis.execute_command("HGET", hands.at.meta, "epoch")).decode()) + 1
    await close_partition(hands.redis, hands.at, epoch)
    doomed = [hands.at.run(run_id), hands.at.timers, hands.at.done, *hands.streams]
    await clear_partition(hands.redis, hands.at, epoch, doomed)
    restored = restore(run_id, plan, marking)
    calls = 0
    for words in restore_calls([restored]):
        calls = await restore_runs(hands.redis, hands.at, epoch, calls, words)
    await reopen_partition(hands.redis, hands.at, epoch, calls)
    await hands.open(epoch)
    after = await _fields(hands, run_id)
    for field in before.keys() | after.keys():
        assert before.get(field) == after.get(field), f"{field}: {before.get(field)!r} became {after.get(field)!r}"


async def _fields(hands: Hands, run_id: str) -> dict[str, bytes]:
    """The run's hash, but for what nobody who loses it can know: fences, entries, deliveries, and who has a token."""
    found: dict[bytes, bytes] = await hands.redis.execute_command("HGETALL", hands.at.run(run_id))
    return {name.decode(): _plain(value) if name[:1] == b"t" else value for name, value in found.items()}


def _plain(record: bytes) -> bytes:
    _, place, deliveries, entry, kind, stream, attempt, extra, reads, live = record.split(b"|")
    if place in QUEUED:
        place, entry = b"q", b""
    if kind in SWEEPS:
        extra = b""
    return b"|".join((place, deliveries, entry, kind, stream, attempt, extra, reads, live))
