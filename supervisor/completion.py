"""Completion: a run whose counter has reached zero gets its output and its end, once, however many supervisors run.

The script that brings the counter to zero says so on the ``done`` stream; a sweep finds runs whose word was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import anyio
import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ..sdk.errors import CouranteError
from ..sdk.events import ErrorInfo, Facts, encode_blob, encode_facts
from ..sdk.fault_points import reach
from ..sdk.floor.calling import Word
from ..sdk.floor.payloads import ColdStore, PayloadMissing, is_reference, load_payload, store_payload
from ..sdk.floor.scripts import DONE_GROUP, Closed, RunLook, finish_runs, look_at_runs, open_partition
from ..sdk.floor.streams import StreamEntry, claim_stale, read_group
from ..sdk.keys import Keys, PartitionKeys
from ..sdk.marking.plan import Plan
from ..sdk.outcomes.run_output import OutputError, run_output
from ..sdk.sealing.payload_terms import PAYLOAD_TERMS, PayloadTooLarge
from ..sdk.sealing.sealing import seal_error
from ..sdk.secrets.redaction import REDACTOR
from ..sdk.server_errors import SERVER_ERRORS
from ..sdk.submissions.catalog import Catalog

BATCH = 200
BLOCK_MS = 2_000
STALE_MS = 10_000
SWEEP_S = 5.0
SWEEP_PAGE = 200
SWEEP_TURN_S = 0.2
TRANSIENT = (*SERVER_ERRORS, CouranteError)
STATUS = {
    "": "COMPLETED",
    "failed": "FAILED",
    "cancelled": "CANCELLED",
    "timed_out": "TIMED_OUT",
    "expired": "TIMED_OUT",
}
LIVING = ("R", "P", "D", "C")
OVER = {
    "timed_out": ErrorInfo(type="RUN_TIMED_OUT", message="the run was not complete when its time was over"),
    "stuck": ErrorInfo(type="RUN_STUCK", message="nothing has happened in the run for too long"),
    "too_long": ErrorInfo(type="RUN_TOO_LONG", message="the run has more events than a run may have"),
    "expired": ErrorInfo(type="EXPIRED", message="the run was not started before it expired"),
}
"""What is said of a run that a limit has ended."""
EVENT = {
    "COMPLETED": "run.completed",
    "FAILED": "run.failed",
    "CANCELLED": "run.cancelled",
    "TIMED_OUT": "run.timed_out",
}
_error = msgspec.json.Decoder(ErrorInfo)
log = structlog.get_logger()


class _Done(NamedTuple):
    """A run whose counter is zero. ``entry``: its id in ``done``, or nothing. ``values``: what its output reads, by
    field, where the entry says it.
    """

    entry: str
    run_id: str
    ir_hash: str
    values: Mapping[bytes, bytes] | None = None


class Completion:
    """Ends the runs of one partition."""

    def __init__(
        self,
        redis: Redis,
        blocking: Redis,
        keys: Keys,
        partition: PartitionKeys,
        catalog: Catalog,
        consumer: str,
        cold: ColdStore | None = None,
    ) -> None:
        self._redis = redis
        self._blocking = blocking
        self._keys = keys
        self._partition = partition
        self._catalog = catalog
        self._cold = cold
        self._consumer = consumer
        self.ended = 0

    async def run(self) -> None:
        """Read ``done`` until cancelled. After a fault, first what an unheard answer has given to this consumer."""
        after = "0"
        while True:
            try:
                after = await self._read(after)
            except (Closed, ResponseError) as error:
                log.warning("completion_refused", error=str(error), partition=self._partition.base)
                if "NOGROUP" in str(error):
                    await self._make_group()
                after = "0"
                await anyio.sleep(0.5)
            except TRANSIENT as error:
                log.warning("completion_failed", error=str(error), partition=self._partition.base)
                after = "0"
                await anyio.sleep(0.2)

    async def _read(self, after: str) -> str:
        """One read, of new entries or of those pending here after an id; returns where to go on."""
        pages = await read_group(
            self._blocking,
            DONE_GROUP,
            self._consumer,
            [self._partition.done],
            count=BATCH,
            block_ms=BLOCK_MS,
            after=after,
        )
        entries = [entry for _, page in pages for entry in page]
        await self._end_some(_read_done(entries))
        if after == ">":
            return after
        return entries[-1][0] if entries else ">"

    async def _make_group(self) -> None:
        """Somebody has deleted the stream, and its group with it."""
        try:
            await open_partition(self._redis, self._partition, [(self._partition.done, DONE_GROUP)], epoch=None)
        except (Closed, RedisError, OSError) as error:
            log.warning("completion_failed", error=str(error), partition=self._partition.base)

    async def sweep(self) -> None:
        """Take over what another supervisor left, and look for runs whose word was lost, until cancelled."""
        cursor = 0
        while True:
            await anyio.sleep(SWEEP_S)
            try:
                await self._take_over()
                cursor = await self._look_for_lost(cursor)
            except (*TRANSIENT, Closed) as error:
                log.warning("sweep_failed", error=str(error), partition=self._partition.base)

    async def _take_over(self) -> None:
        stale = await claim_stale(
            self._redis, self._partition.done, DONE_GROUP, self._consumer, idle_ms=STALE_MS, count=BATCH
        )
        entries = _read_done(stale)
        if entries:
            log.info("completions_taken_over", runs=len(entries))
            await self._end_some(entries)

    async def _look_for_lost(self, cursor: int) -> int:
        """Walk over the runs for a while; returns where the next turn goes on, 0 when all have been seen."""
        until = anyio.current_time() + SWEEP_TURN_S
        while True:
            cursor, found = await self._redis.scan(cursor, match=self._partition.run("*"), count=SWEEP_PAGE)
            ids = [key.decode().removeprefix(self._partition.run("")) for key in found]
            looks = await look_at_runs(self._redis, self._partition, [(run_id, "") for run_id in ids])
            lost = [
                _Done("", run_id, look.ir_hash)
                for run_id, look in zip(ids, looks, strict=True)
                if look.phase in LIVING and look.counter == 0
            ]
            await self._end_some(lost)
            if not cursor or anyio.current_time() > until:
                return int(cursor)

    async def _end_some(self, entries: Sequence[_Done]) -> None:
        """End runs. A run that cannot be ended leaves the others alone."""
        if not entries:
            return
        try:
            await self._end_all(entries)
            return
        except (*TRANSIENT, Closed) as error:
            if len(entries) == 1 or not isinstance(error, (ResponseError, CouranteError)):
                raise
        except Exception:
            log.exception("completions_apart", runs=len(entries))
        for one in entries:
            try:
                await self._end_all([one])
            except (RedisError, OSError) as error:
                if not isinstance(error, ResponseError):
                    raise
                log.error("completion_impossible", run_id=one.run_id, error=str(error))
            except Exception:
                log.exception("completion_impossible", run_id=one.run_id)

    async def _end_all(self, entries: Sequence[_Done]) -> None:
        """One round trip for all of them, and one more where an entry does not bring what the output reads."""
        plans = [await self._catalog.plan(done.ir_hash) for done in entries]
        looks = await self._look(entries, plans)
        words: list[Word] = [DONE_GROUP]
        for done, plan, look in zip(entries, plans, looks, strict=True):
            words += await self._end(done.entry, done.run_id, plan, look)
        reach("before_mark")
        verdicts = await finish_runs(self._redis, self._partition, words)
        reach("after_mark")
        self.ended += verdicts.count("A")
        for done, verdict in zip(entries, verdicts, strict=True):
            if verdict == "N":
                log.warning("completion_premature", run_id=done.run_id)

    async def _look(self, entries: Sequence[_Done], plans: Sequence[Plan]) -> list[RunLook]:
        """Return the state of each run, from its entry where that says it."""
        looks: list[RunLook | None] = []
        wanted: list[tuple[str, str]] = []
        for done, plan in zip(entries, plans, strict=True):
            fields = plan.output_reads()
            if done.values is None:
                wanted.append((done.run_id, " ".join(fields)))
                looks.append(None)
            else:
                values = [done.values.get(field.encode()) for field in fields]
                looks.append(RunLook("R", 0, done.ir_hash, "", None, values))
        found = iter(await look_at_runs(self._redis, self._partition, wanted) if wanted else ())
        return [look if look is not None else next(found) for look in looks]

    async def _end(self, entry: str, run_id: str, plan: Plan, look: RunLook) -> list[Word]:
        status = STATUS.get(look.reason, "FAILED")
        error = OVER.get(look.reason) if look.error is None else _error.decode(look.error)
        output = b"null"
        if status == "COMPLETED":
            try:
                output = run_output(plan, [await self._resolve(value) for value in look.values], run_id)
                if PAYLOAD_TERMS.keeps_apart(output):
                    output = await store_payload(self._redis, self._keys, output)
            except (OutputError, PayloadMissing, PayloadTooLarge) as problem:
                status = "FAILED"
                error = seal_error(ErrorInfo(type="OUTPUT_ERROR", message=REDACTOR.redact(str(problem))))
        facts = Facts(type=EVENT[status], reason=look.reason if look.reason == "expired" else "", error=error)
        is_completed = status == "COMPLETED"
        blob = encode_blob([(encode_facts(facts), output if is_completed else None)])
        result = output if is_completed else b"" if error is None else msgspec.json.encode(error)
        return [run_id, entry, result, status, 1, blob]

    async def _resolve(self, value: bytes | None) -> bytes | None:
        if value is None or not is_reference(value):
            return value
        return await load_payload(self._redis, self._keys, value, self._cold)


def _read_done(entries: Sequence[StreamEntry]) -> list[_Done]:
    """What is no word about a run is left alone."""
    return [
        _Done(entry, fields[b"r"].decode(), fields[b"i"].decode(), fields if b"o" in fields else None)
        for entry, fields in entries
        if b"r" in fields and b"i" in fields
    ]
