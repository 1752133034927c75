"""Repairs: the scripts that a recovery and an audit call. As in ``scripts``, each ``.lua`` file has one wrapper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from ..keys import PartitionKeys
from .calling import Connection, Word, run_script
from .scripts import OUTBOX_HARD_MAX, check_word, load_script

AUDIT_FIELDS = 100
"""A token costs some 30 us on a slow machine: with these a call takes about 3 ms."""


async def halt_runs(redis: Connection, keys: PartitionKeys, run_ids: Sequence[str], *, why: str = "") -> str:
    """Halt runs that need repair; return a letter per run (lua/halt_runs.lua). Raises Closed.

    why: one of ``events.DAMAGES``, for the log; nothing where that says it already.
    """
    answer = await run_script(redis, load_script("halt_runs"), [keys.meta], [why, *run_ids])
    check_word(answer[0])
    return str(answer[1], "ascii")


async def drain_runs(
    redis: Connection,
    keys: PartitionKeys,
    reason: str,
    words: Sequence[Word],
    *,
    outbox_hard_max: int = OUTBOX_HARD_MAX,
) -> str:
    """End runs early in which nothing has happened since; return a letter per run (lua/drain_runs.lua).

    words: per run its id, the number of its last event, ``Plan.closes``. Raises Closed, BackPressure.
    """
    answer = await run_script(redis, load_script("drain_runs"), [keys.meta], [outbox_hard_max, reason, *words])
    check_word(answer[0])
    return str(answer[1], "ascii")


class Audited(NamedTuple):
    """What ``audit_runs`` found. ``seen``: runs that are done with; ``cursor``: where to go on in the next one."""

    seen: int
    cursor: str
    requeued: int
    timed: int
    halted: list[str]


async def audit_runs(
    redis: Connection,
    keys: PartitionKeys,
    run_ids: Sequence[str],
    *,
    cursor: str = "0",
    fields: int = AUDIT_FIELDS,
    outbox_hard_max: int = OUTBOX_HARD_MAX,
) -> Audited:
    """Mend what would wake the tokens of runs (lua/audit_runs.lua). Raises Closed, BackPressure.

    fields: about how many are looked at; two for each token, one more for each run, and one for twenty of its fields
    where these are only counted.
    """
    words: list[Word] = [outbox_hard_max, fields, cursor, *run_ids]
    answer = await run_script(redis, load_script("audit_runs"), [keys.meta], words)
    check_word(answer[0])
    halted = [run_id.decode() for run_id in answer[5:]]
    return Audited(int(answer[1]), answer[2].decode(), int(answer[3]), int(answer[4]), halted)


async def audit_shares(
    redis: Connection,
    keys: PartitionKeys,
    mark: str,
    what: Literal["begin", "look", "end"],
    words: Sequence[Word],
    *,
    outbox_hard_max: int = OUTBOX_HARD_MAX,
) -> None:
    """Hold what is counted of concurrency keys against runs (lua/audit_shares.lua). Raises Closed, BackPressure."""
    answer = await run_script(redis, load_script("audit_shares"), [keys.meta], [outbox_hard_max, mark, what, *words])
    check_word(answer[0])


async def close_partition(redis: Connection, keys: PartitionKeys, epoch: int) -> int:
    """Let nothing happen any more, before a recovery; return the sequence of the outbox. Raises Fenced."""
    answer = await run_script(redis, load_script("close_partition"), [keys.meta], [epoch])
    check_word(answer[0])
    return int(answer[1])


async def clear_partition(
    redis: Connection,
    keys: PartitionKeys,
    epoch: int,
    doomed: Sequence[str],
    *,
    partition_seq: int | None = None,
    kept_s: int = 0,
) -> None:
    """Remove keys of a closed partition. With ``partition_seq`` the outbox begins anew after that. Raises Fenced."""
    words: list[Word] = [epoch, "" if partition_seq is None else partition_seq, kept_s]
    answer = await run_script(redis, load_script("clear_partition"), [keys.meta, *doomed], words)
    check_word(answer[0])


async def restore_runs(redis: Connection, keys: PartitionKeys, epoch: int, calls: int, words: Sequence[Word]) -> int:
    """Write runs into a closed partition (``restoring``); return how many calls there were. Raises Fenced."""
    answer = await run_script(redis, load_script("restore_runs"), [keys.meta], [epoch, calls, *words])
    check_word(answer[0])
    return int(answer[1])


async def reopen_partition(redis: Connection, keys: PartitionKeys, epoch: int, calls: int) -> None:
    """Open a partition after its recovery. Raises Fenced."""
    answer = await run_script(redis, load_script("reopen_partition"), [keys.meta], [epoch, calls])
    check_word(answer[0])
