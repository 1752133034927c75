"""Intake: submissions that any producer adds to the ``submit`` stream with a plain XADD.

Fields: ``workflow``, ``version`` (optional), ``input`` (JSON), ``key`` (idempotency; without one the entry's id is
it), ``by``, ``tags`` (comma-separated) and ``traceparent`` (optional). What is wrong with one goes to ``rejected``
with the reason, and nothing else is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ..sdk.client import Client, Submission
from ..sdk.errors import CouranteError, IdempotencyConflict, InputInvalid, ServiceUnavailable, WorkflowNotFound
from ..sdk.keys import PartitionKeys
from ..sdk.scripts import INTAKE_GROUP
from ..sdk.streams import Fields, StreamEntry, claim_stale, read_group

BATCH = 500
BLOCK_MS = 2_000
STALE_MS = 15_000
SWEEP_S = 5.0
REJECTED_MAX = 10_000
REASON_MAX = 1_000
KNOWN = frozenset({"workflow", "version", "input", "key", "by", "tags", "traceparent"})
log = structlog.get_logger()


class Intake:
    """Turns the entries of one partition's ``submit`` stream into runs."""

    def __init__(
        self, redis: Redis, blocking: Redis, partition: PartitionKeys, client: Client, consumer: str
    ) -> None:
        self._redis = redis
        self._blocking = blocking
        self._partition = partition
        self._client = client
        self._consumer = consumer
        self.accepted = 0
        self.rejected = 0

    async def run(self) -> None:
        """Read ``submit`` until cancelled."""
        while True:
            try:
                page = await read_group(
                    self._blocking, INTAKE_GROUP, self._consumer, [self._partition.submit], count=BATCH, block_ms=BLOCK_MS
                )
                for _, entries in page:
                    await self._take(entries)
            except ResponseError as error:
                log.warning("intake_refused", error=str(error), partition=self._partition.base)
                await anyio.sleep(0.5)
            except (RedisError, OSError, ServiceUnavailable) as error:
                log.warning("intake_failed", error=str(error), partition=self._partition.base)
                await anyio.sleep(0.5)

    async def sweep(self) -> None:
        """Take over the submissions of a supervisor that died with them, until cancelled."""
        while True:
            await anyio.sleep(SWEEP_S)
            try:
                stale = await claim_stale(
                    self._redis, self._partition.submit, INTAKE_GROUP, self._consumer, idle_ms=STALE_MS, count=BATCH
                )
                await self._take(stale)
            except (RedisError, OSError, ServiceUnavailable) as error:
                log.warning("intake_failed", error=str(error), partition=self._partition.base)

    async def _take(self, entries: Sequence[StreamEntry]) -> None:
        """Submit what can be read, at once; a refusal is told apart from its neighbours by submitting one by one."""
        good: list[tuple[str, Fields, Submission]] = []
        for entry, fields in entries:
            try:
                good.append((entry, fields, read_submission(entry, fields)))
            except InputInvalid as error:
                await self._reject(entry, fields, error)
        if not good:
            return
        try:
            await self._client.submit_many([submission for _, _, submission in good])
            await self._accept([entry for entry, _, _ in good])
        except (WorkflowNotFound, InputInvalid, IdempotencyConflict):
            for entry, fields, submission in good:
                try:
                    await self._client.submit_many([submission])
                    await self._accept([entry])
                except (WorkflowNotFound, InputInvalid, IdempotencyConflict) as error:
                    await self._reject(entry, fields, error)

    async def _accept(self, entries: list[str]) -> None:
        await self._redis.xack(self._partition.submit, INTAKE_GROUP, *entries)
        await self._redis.xdel(self._partition.submit, *entries)
        self.accepted += len(entries)

    async def _reject(self, entry: str, fields: Fields, error: CouranteError) -> None:
        reason = error.message[:REASON_MAX]
        log.warning("submission_rejected", entry=entry, code=error.code, reason=reason)
        kept: dict[Any, Any] = {b"entry": entry.encode(), b"code": error.code.encode(), b"reason": reason.encode(), **dict(fields)}
        await self._redis.xadd(self._partition.rejected, kept, maxlen=REJECTED_MAX, approximate=True)
        await self._redis.xack(self._partition.submit, INTAKE_GROUP, entry)
        await self._redis.xdel(self._partition.submit, entry)
        self.rejected += 1


def read_submission(entry: str, fields: Mapping[bytes, bytes]) -> Submission:
    """Return what an entry asks for. Raises InputInvalid, naming the field."""
    texts: dict[str, str] = {}
    for name, value in fields.items():
        try:
            texts[name.decode()] = value.decode()
        except UnicodeDecodeError as error:
            raise InputInvalid(f"field {name!r} is no UTF-8") from error
    unknown = sorted(set(texts) - KNOWN)
    if unknown:
        raise InputInvalid(f"unknown field {unknown[0]!r}; known are {', '.join(sorted(KNOWN))}")
    if not texts.get("workflow"):
        raise InputInvalid("the field 'workflow' is missing")
    try:
        value = msgspec.json.decode(texts.get("input", "null"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputInvalid(f"input: {error}") from error
    version = texts.get("version")
    if version is not None and not (version.isascii() and version.isdigit() and int(version) > 0):
        raise InputInvalid(f"version: {version!r} is no version number")
    return Submission(
        workflow=texts["workflow"],
        input=value,
        version=None if version is None else int(version),
        key=texts.get("key") or f"submit:{entry}",
        by=texts.get("by"),
        tags=tuple(tag for tag in texts.get("tags", "").split(",") if tag),
        traceparent=texts.get("traceparent"),
    )
