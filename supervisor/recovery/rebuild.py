"""Rebuilding: the unfinished runs of a closed partition are folded from the log and written back into Redis.

Before a run its payloads are written, and before all of them the IRs; what stands in Redis under their addresses
already is not read again. A run whose log cannot be folded is written back halted, so that nobody starts it again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice

import msgspec
import structlog
from redis.asyncio import Redis

from ...compiler.ir import Ir, decode_ir
from ...sdk.corrupt import Corrupt
from ...sdk.errors import IrUnreadable, WorkflowNotFound
from ...sdk.events import Facts, RecordedEvent
from ...sdk.fault_points import reach
from ...sdk.floor.calling import Word
from ...sdk.floor.repairs import restore_runs
from ...sdk.floor.restoring import RestoredRun, halted, restore, restore_calls
from ...sdk.fold.fold import Folder
from ...sdk.fold.migrated import MIGRATED, ir_told
from ...sdk.keys import Keys
from ...sdk.marking.marking import Marking, RunPhase
from ...sdk.marking.plan import Plan
from ...sdk.marking.purse import charge, fund_name
from ...sdk.stores.connection import Connection
from ...sdk.stores.log import last_events, read_events_of_runs, read_moves, stream_events
from ...sdk.stores.payloads import Reference, get_payloads, read_reference
from ...sdk.stores.runs import UnfinishedRun, unfinished_runs
from ...sdk.stores.spending import spending_by_ir
from ...sdk.stores.workflows import get_ir, read_irs
from ...sdk.submissions.catalog import Catalog
from ..recording.entries import QUARANTINED

EVENTS_MAX = 5_000
"""Events that are in memory at once; a run that has more is folded from a stream of its own."""
BLOBS_AT_ONCE = 16
AGAIN = "again"
"""Of a damaged run: it is written back halted, and stays so until a person recovers it."""
FINAL_HALTS = frozenset({"log", "corrupt", QUARANTINED})
"""Why a run was halted that its log cannot bring further."""
NAMES_IR = frozenset({"run.started", MIGRATED})
log = structlog.get_logger()
_Recorded = tuple[UnfinishedRun, int]
"""A run, and how many events it has."""


class Rebuilt(msgspec.Struct):
    """What was written. ``halted``: runs whose log cannot be folded, or that were halted before."""

    runs: int = 0
    tokens: int = 0
    events: int = 0
    irs: int = 0
    blobs: int = 0
    blobs_missing: int = 0
    halted: int = 0
    calls: int = 0


class Rebuild:
    """Writes runs of one partition, which is closed for ``epoch``. For one use.

    damaged: runs of which Redis has something else than the log, each with a word that says what; their log says so.
    """

    def __init__(
        self,
        redis: Redis,
        conn: Connection,
        keys: Keys,
        partition: int,
        catalog: Catalog,
        epoch: int,
        damaged: Mapping[str, str] | None = None,
    ) -> None:
        self._redis = redis
        self._conn = conn
        self._keys = keys
        self._number = partition
        self._catalog = catalog
        self._epoch = epoch
        self._damaged = damaged or {}
        self._irs: set[str] = set()
        self._funded: dict[str, Ir] = {}
        self.done = Rebuilt()

    async def write_irs(self) -> None:
        """Write all IRs of the environment: whoever starts runs takes it for granted that they are there."""
        async for page in read_irs(self._conn, self._keys.env):
            pipe = self._redis.pipeline(transaction=False)
            for ir_hash, content in page:
                pipe.set(self._keys.ir(ir_hash), content)  # pyright: ignore[reportUnusedCoroutine]
            await pipe.execute()
            self.done.irs += len(page)
            self._irs.update(ir_hash for ir_hash, _ in page)
            for each, content in page:
                if b'"workflow_budget"' in content:
                    with suppress(msgspec.MsgspecError):  # of a newer version: its runs are written back halted
                        self._funded[str(each)] = decode_ir(content)

    async def write_unfinished(self) -> None:
        """Write every run that has not ended. Raises Fenced, and what the clients raise."""
        await self._write_funds()
        async for page in unfinished_runs(self._conn, self._keys.env, self._number):
            await self.write(page)

    async def _write_funds(self) -> None:
        """Write what all runs of a workflow have spent together, where that has a budget; what is reserved follows."""
        if self._number:
            return  # they live in the first partition
        sums: dict[str, tuple[int, int]] = {}
        for ir_hash, spent in await spending_by_ir(self._conn, self._keys.env, list(self._funded)):
            ir = self._funded[ir_hash]
            name, (tokens, cost) = fund_name(ir), charge(ir, spent)
            before = sums.get(name, (0, 0))
            sums[name] = (before[0] + tokens, before[1] + cost)
        base = self._keys.partition(self._number).base
        for name, (tokens, cost) in sums.items():
            await self._redis.hset(f"{base}fund:{name}", mapping={"tokens": tokens, "cost": cost})

    async def write(self, runs: Sequence[UnfinishedRun]) -> None:
        """Write some runs. Raises Fenced, and what the clients raise."""
        for ir_hash in {run.ir_hash for run in runs} - self._irs:
            content = await get_ir(self._conn, self._keys.env, ir_hash)
            if content is not None:
                await self._redis.set(self._keys.ir(ir_hash), content)
                self._irs.add(ir_hash)
        lengths = await last_events(self._conn, [run.run_id for run in runs])
        async for batch in self._folded([(run, lengths.get(run.run_id, 0)) for run in runs]):
            await self._write_blobs(batch)
            for words in restore_calls(batch):
                reach("before_restore")
                await self._call(words)
            self.done.runs += len(batch)
            self.done.tokens += sum(len(run.tokens) for run in batch)

    async def _call(self, words: list[Word]) -> None:
        partition = self._keys.partition(self._number)
        self.done.calls = await restore_runs(self._redis, partition, self._epoch, self.done.calls, words)

    async def _folded(self, runs: Sequence[_Recorded]) -> AsyncGenerator[list[RestoredRun]]:
        """Yield the restored runs, as many at a time as fit into memory."""
        some: list[_Recorded] = []
        count = 0
        for run, length in runs:
            if some and count + length > EVENTS_MAX:
                yield await self._fold_some(some)
                some, count = [], 0
            if length > EVENTS_MAX:
                yield [await self._fold_long(run, length)]
            elif length:
                some.append((run, length))
                count += length
        if some:
            yield await self._fold_some(some)

    async def _fold_some(self, runs: Sequence[_Recorded]) -> list[RestoredRun]:
        try:
            events = await read_events_of_runs(self._conn, [run.run_id for run, _ in runs])
        except msgspec.MsgspecError:  # one of them was written by newer code: find out which
            return [await self._fold_long(run, length) for run, length in runs]
        restored: list[RestoredRun] = []
        for run, length in runs:
            found = events[run.run_id]
            told = [event.facts for event in found if event.facts.type in NAMES_IR]
            fold = _Fold(await self._plans(run, told))
            fold.follow(found)
            restored.append(self._restore(run, length, fold))
        return restored

    async def _fold_long(self, run: UnfinishedRun, length: int) -> RestoredRun:
        fold = _Fold(await self._plans(run, [facts for _, facts in await read_moves(self._conn, run.run_id)]))
        try:
            async for event in stream_events(self._conn, run.run_id):
                fold.follow([event])
        except msgspec.MsgspecError as error:
            fold.error = fold.error or str(error)
        return self._restore(run, length, fold)

    def _restore(self, run: UnfinishedRun, length: int, fold: _Fold) -> RestoredRun:
        self.done.events += length
        damage = self._damaged.get(run.run_id)
        if fold.error or fold.plan is None:
            log.error("run_not_rebuilt", run_id=run.run_id, seq=length, error=fold.error)
            self.done.halted += 1
            return halted(run.run_id, run.ir_hash, length, () if fold.halted_by in FINAL_HALTS else ("Hlog",))
        marking = fold.marking
        marking.seq = length
        codes: tuple[str, ...] = ()
        if fold.is_quarantined:
            marking.phase = RunPhase.HALTED
        elif damage == AGAIN:
            marking.phase, codes = RunPhase.HALTED, (f"H{AGAIN}",)
        elif fold.halted_from is not None:
            marking.phase, codes = fold.halted_from, ("R",)
        elif damage is not None and marking.phase is not RunPhase.HALTED:
            codes = (f"H{damage}", "R")
        if marking.phase is RunPhase.HALTED:
            self.done.halted += 1
        return restore(run.run_id, fold.plan, marking, codes=codes, is_logged=True)

    async def _plans(self, run: UnfinishedRun, told: Iterable[Facts]) -> list[Plan]:
        """Return the plans that the run has had, in order; none where one of them cannot be had."""
        addresses = [address for facts in told if (address := ir_told(facts))] or [run.ir_hash]
        try:
            return [await self._catalog.plan(address, self._conn) for address in addresses]
        except (WorkflowNotFound, IrUnreadable):
            return []

    async def _write_blobs(self, runs: Iterable[RestoredRun]) -> None:
        """Write the payloads that the runs refer to and Redis does not have."""
        wanted: dict[bytes, Reference] = {}
        for run in runs:
            for _, value in run.fields:
                reference = read_reference(value) if isinstance(value, bytes) else None
                if reference is not None:
                    wanted[reference.digest] = reference
        left = iter(wanted)
        while some := list(islice(left, BLOBS_AT_ONCE)):
            names = [self._keys.blob(found.hex()) for found in some]
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.exists(name)  # pyright: ignore[reportUnusedCoroutine]
            missing = [found for found, is_there in zip(some, await pipe.execute(), strict=True) if not is_there]
            contents = await get_payloads(self._conn, self._keys.env, missing)
            for found in missing:
                content = contents.get(found)
                if content is None:
                    self.done.blobs_missing += 1
                    log.error("blob_lost", env=self._keys.env, digest=found.hex(), is_damaged=False)
                else:
                    await self._redis.set(self._keys.blob(found.hex()), content)
                    self.done.blobs += 1


class _Fold:
    """A run on its way from events to a marking. ``error``: why it cannot be folded. ``plan``: the last one it has had.

    ``halted_by``: why it was halted the last time. ``halted_from``: see ``Folder``.
    """

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.plan = plans[-1] if plans else None
        self.error = "" if plans else "its IR is not known, or not readable"
        self.is_quarantined = False
        self.halted_by = ""
        irs = {str(plan.hash): plan.ir for plan in plans}
        self._folder = Folder(plans[0].ir, plans[0].numbers, irs) if plans else None

    @property
    def marking(self) -> Marking:
        return Marking() if self._folder is None else self._folder.marking

    @property
    def halted_from(self) -> RunPhase | None:
        return None if self._folder is None else self._folder.halted_from

    def follow(self, events: Iterable[RecordedEvent]) -> None:
        """Fold some more. An event that could not be stored is where the run has halted."""
        for event in events:
            if event.facts.type in ("run.halted", QUARANTINED):
                self.halted_by = QUARANTINED if event.facts.type == QUARANTINED else event.facts.reason
            if self.error or self.is_quarantined or self._folder is None:
                continue
            self.is_quarantined = event.facts.type == QUARANTINED
            if not self.is_quarantined:
                try:
                    self._folder.add(event)
                except Corrupt as error:
                    self.error = str(error)
