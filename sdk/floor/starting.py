"""Starting: what puts a run on the floor. Used by whoever applies a start: client, intake, reconciler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..events import ErrorInfo, Facts, encode_blob, encode_facts
from ..keys import Keys, PartitionKeys
from ..marking.plan import START_KEY, Plan, start_ready
from ..marking.scopes import NODE_NAMES, START_NODE
from ..moments import to_ms
from ..sealing.payload_terms import PAYLOAD_TERMS
from ..stores.commands import StartCommand
from .calling import Connection, Word
from .payloads import store_payload
from .scripts import start_runs

RUNS_MAX = 100
"""Runs that one call starts; a run with many entry nodes takes a call of its own."""
WRITES_MAX = 900
WINDOW_MS = 20_000
REFUSED = "refused"
"""Why a run drains that could not be begun as it was asked for."""


class StartWindow(NamedTuple):
    """Until when, by Redis' clock, a start may be applied that was looked at in Postgres after ``now`` was called, and
    in which epochs: by the base of the partition's keys.

    Who sleeps in between must not start again what others have started, ended and forgotten: a run's keys stay for a
    minute after its last event is in the log (``RecorderSettings.ended_ttl_s``), three times the window, or until the
    partition is recovered, which begins a new epoch.
    """

    until_ms: int
    epochs: Mapping[str, str]

    @classmethod
    async def now(cls, redis: Redis, *partitions: PartitionKeys) -> StartWindow | None:
        """Call it before Postgres is asked. None where Redis cannot be reached."""
        pipe = redis.pipeline(transaction=False)
        pipe.time()  # pyright: ignore[reportUnusedCoroutine]
        for keys in partitions:
            pipe.hget(keys.meta, "epoch")  # pyright: ignore[reportUnusedCoroutine]
        try:
            (seconds, microseconds), *epochs = await pipe.execute()
        except (RedisError, OSError):
            return None
        known = {keys.base: (epoch or b"0").decode() for keys, epoch in zip(partitions, epochs, strict=True)}
        return cls(seconds * 1000 + microseconds // 1000 + WINDOW_MS, known)


async def apply_starts(
    redis: Connection,
    keys: Keys,
    partition: PartitionKeys,
    starts: Sequence[tuple[StartCommand, Plan]],
    *,
    outbox_hard_max: int,
    window: StartWindow | None = None,
) -> list[bool]:
    """Start runs of one partition; per start whether it was new. Idempotent. Raises Closed, BackPressure, Late."""
    verdicts = ""
    head: list[Word] = [outbox_hard_max, 0, ""]
    if window is not None:
        head = [outbox_hard_max, window.until_ms, window.epochs[partition.base]]
    words = list(head)
    writes = count = 0
    for command, plan in starts:
        assert command.base_seq is None, "it goes on from another run: see ``bases``"
        kept = command.input
        if PAYLOAD_TERMS.keeps_apart(kept):
            kept = await store_payload(redis, keys, kept)
        more = _start_words(command, plan, kept)
        if count and (count >= RUNS_MAX or writes + len(more) > 3 * WRITES_MAX):
            verdicts += await start_runs(redis, partition, words)
            words = list(head)
            writes = count = 0
        words += more
        writes += len(more)
        count += 1
    if count:
        verdicts += await start_runs(redis, partition, words)
    return [verdict == "A" for verdict in verdicts]


async def refuse_start(
    redis: Connection,
    keys: Keys,
    partition: PartitionKeys,
    command: StartCommand,
    plan: Plan,
    error: ErrorInfo,
    *,
    outbox_hard_max: int,
    window: StartWindow,
) -> bool:
    """Put a run on the floor that ends at once, for it cannot be begun as it was asked for; whether it was new.

    Its log says why. Idempotent. Raises Closed, BackPressure, Late.
    """
    kept = command.input
    if PAYLOAD_TERMS.keeps_apart(kept):
        kept = await store_payload(redis, keys, kept)
    begun = started_facts(msgspec.structs.replace(command, base_seq=None, base_terms=None))
    events = [
        (encode_facts(msgspec.structs.replace(begun, data=begun.data | {"held": True})), kept),
        (encode_facts(Facts(type="run.entered", node=NODE_NAMES[START_NODE], reason=REFUSED, error=error)), None),
    ]
    operations: list[Word] = [*plan.bound(), "d", REFUSED, msgspec.json.encode(error), "0"]
    head: list[Word] = [outbox_hard_max, window.until_ms, window.epochs[partition.base]]
    run: list[Word] = [command.run_id, command.ir_hash, kept, len(events), encode_blob(events), len(operations)]
    return await start_runs(redis, partition, [*head, *run, *operations]) == "A"


def _start_words(command: StartCommand, plan: Plan, kept: bytes) -> list[Word]:
    start_ms = 0 if command.start_at is None else to_ms(command.start_at)
    expires_ms = 0 if command.expires_at is None else to_ms(command.expires_at)
    if start_ms:
        operations: list[Word] = [*plan.bound(), "P", START_KEY, start_ms, start_ready(0, expires_ms), *plan.deadline()]
    elif expires_ms:
        operations = [*plan.bound(), "e", START_KEY, start_ready(0, expires_ms), *plan.deadline()]
    else:
        operations = list(plan.start_words)
    if expires_ms:
        operations += ["t", "!expire", expires_ms, "0"]
    facts = encode_facts(started_facts(command))
    return [
        command.run_id,
        command.ir_hash,
        kept,
        1,
        encode_blob([(facts, kept)]),
        len(operations),
        *operations,
    ]


def started_facts(command: StartCommand) -> Facts:
    """Return the facts of ``run.started``; what is not said is left out."""
    start_ms = 0 if command.start_at is None else to_ms(command.start_at)
    expires_ms = 0 if command.expires_at is None else to_ms(command.expires_at)
    terms = command.base_terms
    said: dict[str, object] = {
        "workflow": command.workflow,
        "version": command.version,
        "ir": command.ir_hash,
        "partition": command.partition,
        "trigger": command.trigger,
        "by": command.by,
        "key": command.idempotency_key,
        "tags": list(command.tags),
        "base_run_id": command.base_run_id,
        "base_seq": command.base_seq,
        "restored": command.base_seq is not None,
        "change": "" if terms is None else terms.change,
        "steps": [] if terms is None else list(terms.steps),
        "traceparent": command.traceparent,
        "created_ms": None if command.created_at is None else to_ms(command.created_at),
        "expires": expires_ms,
        "held": bool(start_ms or expires_ms),
    }
    data: dict[str, object] = {name: value for name, value in said.items() if value}
    return Facts(type="run.started", due=start_ms, data=data)
