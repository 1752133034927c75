"""Bringing: what did not travel with a token is read before its node runs. Nothing here changes a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..sdk.gathering import Gatherer
from ..sdk.item_values import encode_results
from ..sdk.keys import Keys, PartitionKeys
from ..sdk.map_plans import read_record
from ..sdk.payload_terms import PAYLOAD_TERMS
from ..sdk.payloads import ColdStore, PayloadMissing, is_reference, load_payload, store_payload
from ..sdk.plan import value_field
from ..sdk.scripts import look_at_runs
from .item_lists import ItemLists
from .loads import Loads
from .work import Work

BACKOFF_S_MAX = 5.0
T = TypeVar("T")
log = structlog.get_logger()


class Bringer:
    """For one lane."""

    def __init__(self, redis: Redis, keys: Keys, partition: PartitionKeys, cold: ColdStore | None = None) -> None:
        self._redis = redis
        self._cold = cold
        self._keys = keys
        self._partition = partition
        self._items = ItemLists()
        self._loads = Loads(self._load)
        self._gatherer = Gatherer(self._read_fields, self._resolve)

    def cut(self, work: Work) -> bool:
        """Put the token's own items in the place of their lists; False where something must be brought for that."""
        if work.node.is_aggregate and work.live:
            return False
        return not work.plan.item_reads[work.number] or self._items.cut(work)

    async def fetch(self, work: Work, *, wide: bool) -> None:
        """Bring everything. wide: also what the node reads. Raises PayloadMissing, PayloadTooLarge."""
        if work.node.is_aggregate and work.live:
            work.results = await self._gatherer.results(work)
        if wide:
            fields = work.plan.reads(work.number, work.scope, work.live)
            if work.has_value:
                fields.append(value_field(work.number, work.scope))
            work.values = await self._read_fields(work.run_id, fields)
        if work.last_report is None and (work.deliveries or work.attempt > 1):
            (work.last_report,) = await self._read_fields(work.run_id, [f"d{work.key}"])
        for reference in self._items.missing(work):
            self._items.keep(reference, await self._resolve(reference))
        self._items.cut(work)
        work.values = [None if value is None else await self._resolve(value) for value in work.values]

    async def collect(self, work: Work) -> tuple[int, bytes]:
        """Return (number, results) of the chunk whose turn it is, for a collector's token."""
        record = work.values[0]
        number = read_record(record.decode()).ready[0] if record else 0
        content = encode_results(await self._gatherer.chunk(work, number))
        if PAYLOAD_TERMS.keeps_apart(content):
            content = await retry(lambda: store_payload(self._redis, self._keys, content))
        return number, content

    async def _read_fields(self, run_id: str, fields: list[str]) -> list[bytes | None]:
        """Raises PayloadMissing where Redis has lost the run: its token is void."""
        wanted = [(run_id, " ".join(fields))]
        (found,) = await retry(lambda: look_at_runs(self._redis, self._partition, wanted))
        if found.phase is None:
            raise PayloadMissing(f"Redis has lost the run {run_id}")
        return found.values

    async def _resolve(self, value: bytes) -> bytes:
        if not is_reference(value):
            return value
        return await self._loads.bring(value)

    async def _load(self, reference: bytes) -> bytes:
        return await retry(lambda: load_payload(self._redis, self._keys, reference, self._cold))


async def retry(call: Callable[[], Awaitable[T]]) -> T:
    """Return what it comes to, however long Redis, or where payloads lie cold, cannot be reached."""
    delay = 0.05
    while True:
        try:
            return await call()
        except (RedisError, OSError) as error:
            log.warning(
                "redis_unreachable" if isinstance(error, RedisError) else "server_unreachable", error=str(error)
            )
            await anyio.sleep(delay)
            delay = min(BACKOFF_S_MAX, delay * 2)
