"""Bringing: what did not travel with a token is read before its node runs. Nothing here changes a run."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import structlog
from redis.asyncio import Redis

from ..compiler.maps import ITEMS_MAX
from ..sdk.errors import PayloadUnreadable
from ..sdk.floor.cold_payloads import PostgresPayloads
from ..sdk.floor.payloads import PayloadGone, PayloadMissing, is_reference, load_payload, load_payloads, store_payload
from ..sdk.floor.scripts import look_at_runs
from ..sdk.keys import Keys, PartitionKeys
from ..sdk.marking.plan import value_field
from ..sdk.marking.scopes import scope_key
from ..sdk.outcomes.early_signals import look_for_more
from ..sdk.outcomes.gathering import Collection, Gatherer, ResultsMissing
from ..sdk.outcomes.outcomes import GivenBack
from ..sdk.outcomes.step_context import StepContext
from ..sdk.sealing.payload_terms import PAYLOAD_BYTES_MAX, PAYLOAD_TERMS, PayloadTooLarge
from ..sdk.step_error import StepError
from .elsewhere import Elsewhere
from .item_lists import ItemLists
from .loads import Loads
from .retrying import retry
from .work import Work

ELSEWHERE_S = 60.0
"""For so long a worker that cannot read a payload leaves its step to others; then none can, and it fails."""
UNREAD_MAX = 10_000
HINT = "set database_url for this worker"
PAGE = 200
"""Fields that one call reads."""
RESULTS_BYTES_MAX = PAYLOAD_BYTES_MAX + 64 * ITEMS_MAX
"""Of all results of a map as the log has them: their values, and around each what it came to."""
log = structlog.get_logger()


@contextmanager
def _spoiled_is_missing(work: Work) -> Generator[None]:
    """What Redis has of a run may be anything: whoever cannot read it fails, and nothing else that its worker does."""
    try:
        yield
    except (PayloadMissing, PayloadUnreadable, PayloadTooLarge):
        raise
    except Exception as error:
        log.exception("values_spoiled", run_id=work.run_id, node=work.node.id, error=str(error))
        raise PayloadMissing(f"what it reads is spoiled: {error}") from error


class Bringer:
    """For one lane."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        partition: PartitionKeys,
        cold: PostgresPayloads | None,
        elsewhere: Elsewhere,
    ) -> None:
        self._redis = redis
        self._cold = cold
        self._keys = keys
        self._partition = partition
        self._items = ItemLists()
        self._elsewhere = elsewhere
        self._unread: OrderedDict[tuple[str, str, int], float] = OrderedDict()
        self._loads = Loads(self._load)
        self._gatherer = Gatherer(self._read_fields, self._load_results, self._recorded)

    def cut(self, work: Work) -> bool:
        """Put the token's own items in the place of their lists; False where something must be brought for that."""
        if work.node.is_aggregate and work.live:
            return False
        return not work.plan.item_reads[work.number] or self._items.cut(work)

    async def fetch(self, work: Work, *, wide: bool) -> None:
        """Bring everything. wide: also what the node reads. Raises PayloadMissing, PayloadUnreadable, TooLarge."""
        with _spoiled_is_missing(work):
            await self._fetch(work, wide=wide)

    async def _fetch(self, work: Work, *, wide: bool) -> None:
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
        await self._bring_early(work)
        work.values = [None if value is None else await self._resolve(value) for value in work.values]

    async def _bring_early(self, work: Work) -> None:
        """Put behind the value of a map's release those of the signals that have come since."""
        work.early, values = await look_for_more(self._read_fields, work)
        work.values += values

    def unread(self, work: Work, error: Exception) -> GivenBack | StepError:
        """Return what becomes of a step that cannot read what it needs: others may, where this worker has no log."""
        if isinstance(error, ResultsMissing):
            log.warning("results_elsewhere", run_id=work.run_id, node=work.node.id, hint=HINT)
            return self._given_back(work)
        if isinstance(error, PayloadGone) and self._cold is None:
            if self._is_patient(work):
                return self._given_back(work)
            return StepError("PAYLOAD_MISSING", f"{error} in Redis, and no worker has looked in Postgres: {HINT}")
        return StepError("PAYLOAD_TOO_LARGE" if isinstance(error, PayloadTooLarge) else "PAYLOAD_MISSING", str(error))

    def _given_back(self, work: Work) -> GivenBack:
        return GivenBack(self._elsewhere.delay_ms(work.run_id, work.key, time.monotonic()))

    def _is_patient(self, work: Work) -> bool:
        """Whether others shall have more time to take a step that this worker cannot run."""
        at, now = (work.run_id, work.key, work.attempt), time.monotonic()
        if at not in self._unread:
            log.warning("payload_elsewhere", run_id=work.run_id, node=work.node.id, hint=HINT)
            self._unread[at] = now
        if len(self._unread) > UNREAD_MAX:
            self._unread.popitem(last=False)
        return now - self._unread[at] < ELSEWHERE_S

    async def collect(self, work: Work) -> list[Collection]:
        """Return the results of the chunks whose turn it is, for a collector's token."""
        with _spoiled_is_missing(work):
            return [await self._stored(each) for each in await self._gatherer.ready(work)]

    async def _stored(self, found: Collection) -> Collection:
        if not PAYLOAD_TERMS.keeps_apart(found.content):
            return found
        reference = await retry(lambda: store_payload(self._redis, self._keys, found.content))
        return found._replace(content=reference)

    async def _read_fields(self, run_id: str, fields: list[str]) -> list[bytes | None]:
        """Raises PayloadMissing where Redis has lost the run: its token is void."""
        values: list[bytes | None] = []
        for first in range(0, len(fields), PAGE) or (0,):
            values += await self._read_page(run_id, fields[first : first + PAGE])
        return values

    async def _read_page(self, run_id: str, fields: list[str]) -> list[bytes | None]:
        wanted = [(run_id, " ".join(fields))]
        (found,) = await retry(lambda: look_at_runs(self._redis, self._partition, wanted))
        if found.phase is None:
            raise PayloadMissing(f"Redis has lost the run {run_id}")
        return found.values

    async def _recorded(self, step: StepContext) -> Mapping[int, bytes]:
        """Raises PayloadTooLarge."""
        cold = self._cold
        if cold is None:
            return {}
        ir = step.plan.ir
        region = ir.regions[step.node.map_region]
        nodes = [ir.nodes[region.node].id, ir.nodes[region.collector].id]
        return await retry(lambda: cold.results(step.run_id, nodes, scope_key(step.scope), RESULTS_BYTES_MAX))

    async def _load_results(self, references: list[bytes]) -> Mapping[bytes, bytes]:
        """They are read once: what has left Redis stays away."""
        return await retry(lambda: load_payloads(self._redis, self._keys, references, self._cold))

    async def _resolve(self, value: bytes) -> bytes:
        if not is_reference(value):
            return value
        return await self._loads.bring(value)

    async def _load(self, reference: bytes) -> bytes:
        return await retry(lambda: load_payload(self._redis, self._keys, reference, self._cold))
