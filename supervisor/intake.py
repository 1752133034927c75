"""Intake: submissions that any producer adds to the ``submit`` stream with XADD (docs/how-to/submit-by-xadd.md).

Fields: ``workflow``, ``version`` (optional), ``input`` (JSON), ``key`` (idempotency; without one the entry's id is
it), ``by``, ``tags`` (comma-separated) and ``traceparent`` (optional). What is wrong with one is kept in Postgres and
goes to ``rejected``, with the reason, and nothing else is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import anyio
import msgspec
import structlog
from redis.exceptions import RedisError, ResponseError

from ..sdk.errors import (
    CouranteError,
    IdempotencyConflict,
    InputInvalid,
    IrUnreadable,
    PayloadUnreadable,
    ServiceUnavailable,
    WorkflowNotFound,
)
from ..sdk.fault_points import reach
from ..sdk.floor.scripts import INTAKE_GROUP, Closed, open_partition
from ..sdk.floor.streams import Fields, StreamEntry, claim_stale, read_group
from ..sdk.json_values import NotJson, decode_text
from ..sdk.keys import Keys
from ..sdk.sealing.sealing import seal_text
from ..sdk.server_errors import SERVER_ERRORS
from ..sdk.stores.rejected import Rejected, keep_rejected
from ..sdk.submissions.submissions import VERSION_MAX, Submission, input_fault

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from ..sdk.client.client import Client

BATCH = 500
BLOCK_MS = 2_000
STALE_MS = 15_000
SWEEP_S = 5.0
REJECTED_MAX = 10_000
REASON_MAX = 1_000
KEPT_FIELDS_MAX = 16
KEPT_CHARS_MAX = 1_000
"""What is kept of a refused submission: it may have been 20 MiB of garbage."""
KNOWN = frozenset({"workflow", "version", "input", "key", "by", "tags", "traceparent"})
OPEN = KNOWN - {"input"}
"""What is not encrypted of a refused submission where payloads are."""
REFUSALS = (WorkflowNotFound, InputInvalid, IdempotencyConflict, PayloadUnreadable)
"""The last one where the key belongs to a request that cannot be read: nobody can say whether it is the same."""
TRANSIENT = (*SERVER_ERRORS, ServiceUnavailable)
log = structlog.get_logger()


class Intake:
    """Turns the entries of one partition's ``submit`` stream into runs."""

    def __init__(
        self, redis: Redis, blocking: Redis, keys: Keys, partition: int, client: Client, consumer: str
    ) -> None:
        self._redis = redis
        self._blocking = blocking
        self._number = partition
        self._partition = keys.partition(partition)
        self._client = client
        self._consumer = consumer
        self.accepted = 0
        self.rejected = 0

    async def run(self) -> None:
        """Read ``submit`` until cancelled. After a fault, first what is still pending for this consumer."""
        after = "0"
        while True:
            try:
                after = await self._read(after)
            except TRANSIENT as error:
                log.warning("intake_failed", error=str(error), partition=self._partition.base)
                if isinstance(error, ResponseError) and "NOGROUP" in str(error):
                    await self._make_group()
                after = "0"
                await anyio.sleep(0.5)

    async def _read(self, after: str) -> str:
        """One read, of new entries or of those pending here after an id; returns where to go on."""
        pages = await read_group(
            self._blocking,
            INTAKE_GROUP,
            self._consumer,
            [self._partition.submit],
            count=BATCH,
            block_ms=BLOCK_MS,
            after=after,
        )
        entries = [entry for _, page in pages for entry in page]
        await self._take(entries)
        if after == ">":
            return after
        return entries[-1][0] if entries else ">"

    async def _make_group(self) -> None:
        """Somebody has deleted the stream, and its group with it."""
        try:
            await open_partition(self._redis, self._partition, [(self._partition.submit, INTAKE_GROUP)], epoch=None)
        except (Closed, RedisError, OSError) as error:
            log.warning("intake_failed", error=str(error), partition=self._partition.base)

    async def sweep(self) -> None:
        """Take over the submissions of a supervisor that died with them, until cancelled."""
        while True:
            await anyio.sleep(SWEEP_S)
            try:
                stale = await claim_stale(
                    self._redis, self._partition.submit, INTAKE_GROUP, self._consumer, idle_ms=STALE_MS, count=BATCH
                )
                await self._take(stale)
            except TRANSIENT as error:
                log.warning("intake_failed", error=str(error), partition=self._partition.base)

    async def _take(self, entries: Sequence[StreamEntry]) -> None:
        """Submit what can be read, at once; a refusal is told apart from its neighbours by submitting one by one.

        What only a newer version can start stays pending, until a supervisor of that takes it over.
        """
        if not entries:
            return
        reach("before_intake")
        good: list[tuple[StreamEntry, Submission]] = []
        bad: list[tuple[StreamEntry, CouranteError]] = []
        for entry in entries:
            if not entry[1]:
                continue  # deleted by somebody while it was pending
            try:
                good.append((entry, read_submission(f"{self._number}:{entry[0]}", entry[1])))
            except InputInvalid as error:
                bad.append((entry, error))
        try:
            await self._client.submit_many([submission for _, submission in good])
            reach("after_intake")
            await self._accept([entry for entry, _ in good])
        except (*REFUSALS, IrUnreadable):
            for entry, submission in good:
                try:
                    await self._client.submit_many([submission])
                    await self._accept([entry])
                except REFUSALS as error:
                    bad.append((entry, error))
                except IrUnreadable as error:
                    log.warning("submission_left", entry=entry[0], error=error.message)
        if bad:
            await self._reject(bad)

    async def _accept(self, entries: Sequence[StreamEntry]) -> None:
        if entries:
            await self._drop([entry for entry, _ in entries])
            self.accepted += len(entries)

    async def _drop(self, entries: Sequence[str]) -> None:
        await self._redis.xack(self._partition.submit, INTAKE_GROUP, *entries)
        await self._redis.xdel(self._partition.submit, *entries)

    async def _reject(self, refused: Sequence[tuple[StreamEntry, CouranteError]]) -> None:
        """Keep the reasons, tell them, and let go of the entries. What is cut short is done again."""
        kept: list[Rejected] = []
        for (entry, fields), error in refused:
            reason = _storable(error.message, REASON_MAX)
            log.warning("submission_rejected", entry=entry, code=error.code, reason=reason)
            shown = msgspec.json.encode(_shortened(fields))
            kept.append(Rejected(entry_id=entry, code=error.code, reason=reason, fields=shown))
        async with self._client.pool.acquire() as conn:
            await keep_rejected(conn, self._client.keys.env, self._number, kept)
        for one, ((_, fields), _) in zip(kept, refused, strict=True):
            said: dict[str, str] = {
                **{name: text if name in OPEN else seal_text(text) for name, text in _shortened(fields).items()},
                "entry": one.entry_id,
                "code": one.code,
                "reason": seal_text(one.reason),
            }
            await self._redis.xadd(self._partition.rejected, cast("Any", said), maxlen=REJECTED_MAX, approximate=True)
        await self._drop([one.entry_id for one in kept])
        self.rejected += len(kept)


def _shortened(fields: Fields) -> dict[str, str]:
    """What may be kept of garbage: a few fields, cut, as text."""
    some = list(fields.items())[:KEPT_FIELDS_MAX]
    return {_storable(_text(name), 100): _storable(_text(value), KEPT_CHARS_MAX) for name, value in some}


def _text(value: bytes) -> str:
    return value[: 4 * KEPT_CHARS_MAX].decode("utf-8", "backslashreplace")


def _storable(text: str, limit: int) -> str:
    """Cut, and without what Postgres cannot keep in a text."""
    return text[:limit].replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def read_submission(entry: str, fields: Mapping[bytes, bytes]) -> Submission:
    """Return what an entry asks for. entry: ``partition:id``, its key where it names none. Raises InputInvalid."""
    texts: dict[str, str] = {}
    for name, value in fields.items():
        shown = _text(name)[:100]
        if shown not in KNOWN:
            raise InputInvalid(f"unknown field {shown!r}; known are {', '.join(sorted(KNOWN))}")
        try:
            texts[shown] = value.decode()
        except UnicodeDecodeError as error:
            raise InputInvalid(f"{shown}: it is no UTF-8: {error.reason} at byte {error.start}") from error
    if not texts.get("workflow"):
        raise InputInvalid("workflow: the field is missing")
    try:
        value = decode_text(texts.get("input", "null"))
    except NotJson as error:
        raise input_fault(error) from error
    version = texts.get("version")
    if version is not None and not _is_version(version):
        raise InputInvalid(f"version: {version[:40]!r} is no version number")
    return Submission(
        workflow=texts["workflow"],
        input=value,
        version=None if version is None else int(version),
        key=texts.get("key") or f"submit:{entry}",
        by=texts.get("by"),
        tags=tuple(tag for tag in texts.get("tags", "").split(",") if tag),
        traceparent=texts.get("traceparent"),
    )


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(VERSION_MAX)) and 1 <= int(text) <= VERSION_MAX
