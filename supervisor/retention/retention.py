"""Retention: what is older than the policy says is archived and taken out of the log, forgotten, or deleted.

Months of the log go as a whole, once every run with events in them has ended for long enough, and no living run needs
one of them. With an archive the month is written, put in place and read back before it is taken out; taking it out is
one transaction, which looks again whether it may. Whoever is killed in between goes on: what it has left is written
anew, for something may have been forgotten since. Several supervisors may do it; one at a time does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import msgspec
import structlog
from redis.asyncio import Redis

from ...sdk.errors import PayloadUnreadable
from ...sdk.fault_points import reach
from ...sdk.keys import Keys
from ...sdk.moments import to_ms
from ...sdk.server_errors import SERVER_ERRORS
from ...sdk.stores.connection import Connection, Pool
from ...sdk.stores.errors import NotEnded, UnknownRun
from ...sdk.stores.forgetting import runs_to_forget
from ...sdk.stores.payloads import get_payloads
from ...sdk.stores.retention import (
    Look,
    Month,
    count_cache,
    count_events,
    count_old_runs,
    count_runs_to_forget,
    delete_old_runs,
    has_event,
    keep_month,
    list_months,
    look_at_month,
    month_events,
    month_runs,
    sweep_cache,
    take_out,
)
from ...sdk.stores.roles import owns_log
from .archive import (
    VERSION,
    ArchiveBroken,
    Event,
    Head,
    Manifest,
    Payload,
    Run,
    Writer,
    first_event,
    iso_of,
    read_manifest,
    verify_archive,
)
from .archived_names import decoded, named_by
from .collector import Collector
from .dropped_artifacts import ArtifactRetention
from .forgetting import Forgetting
from .policy import Policy

EVERY_S = 3_600.0
RUNS_A_TURN = 100
ROWS_A_TURN = 1_000
CONTENTS_A_CALL = 16
OWNERS = "only the owner of the log takes months out of it: let 'courante retain' do it as that role of Postgres"
POLICY = "policy"
"""Who forgets, as it is remembered."""
LOCK_CLASS = 0x524554
"""The first of the two numbers of its advisory lock; months are of all environments, and so is it."""
log = structlog.get_logger()


class PlannedMonth(msgspec.Struct, frozen=True, kw_only=True):
    """``kept``: why it stays; empty where it goes."""

    name: str
    starts: datetime
    ends: datetime
    events: int
    runs: int
    kept: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``months``: that end early enough. ``payloads``: runs to forget; ``runs``: to delete; ``cache``: outputs."""

    months: Sequence[PlannedMonth]
    payloads: int
    artifacts: int
    runs: int
    cache: int


class Retained(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. ``archives``: of the months, where they were archived. ``failed``: what was left, and why."""

    months: Sequence[PlannedMonth]
    archives: Sequence[Manifest]
    failed: dict[str, str]
    payloads: int
    artifacts: int
    runs: int
    cache: int


class Retention:
    """For one environment. now: of the plan; left out: the present."""

    def __init__(
        self,
        redis: Redis,
        pool: Pool,
        keys: Keys,
        policy: Policy,
        *,
        partitions: int = 1,
        now: datetime | None = None,
    ) -> None:
        self._pool = pool
        self._env = keys.env
        self._policy = policy
        self._now = now
        self._forgetting = Forgetting(redis, pool, keys, partitions=partitions)
        self._artifacts = None
        if policy.artifacts is not None:
            collector = Collector(redis, pool, keys, partitions=partitions)
            self._artifacts = ArtifactRetention(redis, keys, collector, policy.artifacts)

    async def run(self) -> None:
        """Do it now and then, until cancelled."""
        while self._policy.is_set:
            await anyio.sleep(EVERY_S)
            try:
                await self.carry_out()
            except (*SERVER_ERRORS, OSError, PayloadUnreadable) as error:
                log.warning("retention_failed", error=str(error) or repr(error))
        await anyio.sleep_forever()

    async def plan(self) -> Plan:
        """Say what ``carry_out`` would do. Changes nothing. Cost: all events of the months that may go."""
        policy = self._policy
        async with self._pool.acquire() as conn:
            is_owner, deletes = await owns_log(conn), self._before(policy.runs)
            return Plan(
                months=[await self._plan_month(conn, one) for one in await self._old_months(conn)] if is_owner else [],
                payloads=await self._count_to_forget(conn),
                artifacts=await self._count_artifacts(conn),
                runs=0 if deletes is None or not is_owner else await count_old_runs(conn, self._env, deletes),
                cache=await count_cache(conn, self._env, self._before(policy.cache)),
            )

    async def carry_out(self) -> Retained:
        """Do what the policy says, as far as nobody else is at it. Raises OSError where the archive cannot be written.

        Forgetting comes before archiving: what is to be forgotten goes into no archive.
        """
        months: list[PlannedMonth] = []
        archives: list[Manifest] = []
        failed: dict[str, str] = {}
        async with self._turn() as conn:
            if conn is None:
                return Retained(months=[], archives=[], failed={}, payloads=0, artifacts=0, runs=0, cache=0)
            forgotten = await self._forget()
            dropped = await self._drop_artifacts(conn, failed)
            is_owner = await owns_log(conn)
            if not is_owner and (self._policy.log or self._policy.runs):
                failed["log"] = OWNERS
                log.warning("retention_failed", error=OWNERS)
            for month in await self._old_months(conn) if is_owner else ():
                planned = await self._plan_month(conn, month)
                if planned.kept:
                    months.append(planned)
                    continue
                try:
                    manifest = None if self._policy.archive is None else await self._archive(conn, month)
                    months.append(await self._take_out(conn, month, manifest))
                except (asyncpg.LockNotAvailableError, asyncpg.InsufficientPrivilegeError, ArchiveBroken) as error:
                    failed[month.name] = str(error)
                    log.warning("month_not_taken_out", month=month.name, error=str(error))
                    continue
                archives += [] if manifest is None else [manifest]
            deleted = await self._delete_runs(conn) if is_owner else 0
            swept = await self._sweep_cache(conn)
        counts = {"payloads": forgotten, "artifacts": dropped, "runs": deleted, "cache": swept}
        log.info("retained", months=sum(not one.kept for one in months), **counts)
        return Retained(months=months, archives=archives, failed=failed, **counts)

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[Connection | None]:
        """A connection, while nobody else does the same; None where somebody does."""
        async with self._pool.acquire() as conn:
            if not await conn.fetchval("SELECT pg_try_advisory_lock($1, 0)", LOCK_CLASS):
                yield None
                return
            try:
                yield conn
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                    await conn.fetchval("SELECT pg_advisory_unlock($1, 0)", LOCK_CLASS)

    def _before(self, age: timedelta | None) -> datetime | None:
        return None if age is None else (self._now or datetime.now(UTC)) - age

    async def _old_months(self, conn: Connection) -> list[Month]:
        before = self._before(self._policy.log)
        return [] if before is None else [month for month in await list_months(conn) if month.ends <= before]

    async def _plan_month(self, conn: Connection, month: Month) -> PlannedMonth:
        before = self._before(self._policy.log)
        assert before is not None
        look = await look_at_month(conn, self._env, month, before)
        return _planned(month, look)

    async def _count_to_forget(self, conn: Connection) -> int:
        count = 0
        for workflow, before, without in self._to_forget():
            count += await count_runs_to_forget(conn, self._env, before, workflow=workflow, without=without)
        return count

    async def _forget(self) -> int:
        forgotten = 0
        for workflow, before, without in self._to_forget():
            forgotten += await self._forget_some(workflow, before, without)
        return forgotten

    async def _forget_some(self, workflow: str | None, before: datetime, without: Sequence[str]) -> int:
        forgotten = 0
        while True:
            async with self._pool.acquire() as conn:
                narrowed: dict[str, Any] = {"workflow": workflow, "without": without, "limit": RUNS_A_TURN}
                run_ids = await runs_to_forget(conn, self._env, before, **narrowed)
            if not run_ids:
                return forgotten
            try:
                done = await self._forgetting.forget(run_ids, by=POLICY, reason="retain_payloads")
            except (NotEnded, UnknownRun) as error:
                log.warning("run_not_forgotten", error=str(error))
                return forgotten
            forgotten += len(done.run_ids)

    def _to_forget(self) -> Iterator[tuple[str | None, datetime, Sequence[str]]]:
        """Workflows with policies of their own, then all others (None), each with the time and what is left out."""
        own = self._policy.payloads_of
        for workflow, age in own.items():
            if (before := self._before(age)) is not None:
                yield workflow, before, ()
        if (before := self._before(self._policy.payloads)) is not None:
            yield None, before, list(own)

    async def _count_artifacts(self, conn: Connection) -> int:
        before = self._before(self._policy.artifacts)
        return 0 if before is None or self._artifacts is None else await self._artifacts.count(conn, before)

    async def _drop_artifacts(self, conn: Connection, failed: dict[str, str]) -> int:
        before = self._before(self._policy.artifacts)
        try:
            return 0 if before is None or self._artifacts is None else await self._artifacts.drop(conn, before)
        except PayloadUnreadable as error:
            failed["artifacts"] = str(error)
            log.warning("artifacts_not_dropped", error=str(error))
            return 0

    async def _archive(self, conn: Connection, month: Month) -> Manifest:
        """Write a month and read it back. Raises ArchiveBroken, also where an archive of others stands there."""
        assert self._policy.archive is not None
        folder = self._policy.archive
        folder.mkdir(parents=True, exist_ok=True)
        head = Head(version=VERSION, month=month.name, starts=iso_of(month.starts), ends=iso_of(month.ends))
        path = folder / f"{month.name}.jsonl.gz"
        if await self._is_of_others(conn, month, path):
            raise ArchiveBroken(0, f"at {path} stands an archive of another database: give this one another directory")
        writer = Writer(folder, head)
        try:
            await self._write(conn, month, writer)
            reach("before_archive_finished")
            await anyio.to_thread.run_sync(writer.finish)
        except BaseException:
            writer.abandon()
            raise
        reach("before_archive_verified")
        return await anyio.to_thread.run_sync(verify_archive, path)

    async def _is_of_others(self, conn: Connection, month: Month, path: Path) -> bool:
        """Whether there is a complete archive with events that the month does not have."""
        known = read_manifest(path) if await anyio.Path(path).exists() else None
        if known is None or not known.events:
            return False
        first = await anyio.to_thread.run_sync(first_event, path)
        place = (first.run_id, first.seq, bytes.fromhex(first.hash))
        return not await has_event(conn, month, *place) or known.events > await count_events(conn, month)

    async def _write(self, conn: Connection, month: Month, writer: Writer) -> None:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            async for content in month_runs(conn, month):
                writer.add(Run(row=msgspec.Raw(content.encode())))
            wanted: set[tuple[str, bytes]] = set()
            async for row in month_events(conn, month):
                payload: bytes | None = row["payload"]
                wanted |= {(row["env"], found) for found in named_by(payload)}
                writer.add(_event(row))
            await self._write_payloads(conn, writer, wanted)

    async def _write_payloads(self, conn: Connection, writer: Writer, wanted: set[tuple[str, bytes]]) -> None:
        """Those that events refer to, and the artifacts inside of them."""
        done: set[tuple[str, bytes]] = set()
        while wanted:
            some = sorted(wanted)[:CONTENTS_A_CALL]
            wanted.difference_update(some)
            done.update(some)
            for env in {env for env, _ in some}:
                digests = [found for owner, found in some if owner == env]
                for address, content in (await get_payloads(conn, env, digests)).items():
                    writer.add(Payload(env=env, digest=address.hex(), content=content))
                    wanted |= {(env, found) for found in named_by(decoded(content))} - done

    async def _take_out(self, conn: Connection, month: Month, manifest: Manifest | None) -> PlannedMonth:
        """Look again while it stays as it is, and take the month out if it may go and is all in its archive."""
        before = self._before(self._policy.log)
        assert before is not None
        async with conn.transaction():
            await keep_month(conn, month)
            look = await look_at_month(conn, self._env, month, before)
            planned = _planned(month, look)
            if planned.kept:
                return planned
            if manifest is not None and (manifest.events, manifest.runs) != (look.events, look.runs):
                return msgspec.structs.replace(planned, kept="its archive does not hold all of it")
            path = None
            if manifest is not None and self._policy.archive is not None:
                path = str((self._policy.archive / manifest.file).absolute())
            await take_out(conn, month, look, path, None if manifest is None else bytes.fromhex(manifest.sha256))
            reach("before_month_taken_out")
        reach("after_month_taken_out")
        return planned

    async def _delete_runs(self, conn: Connection) -> int:
        before, deleted = self._before(self._policy.runs), 0
        while before is not None and (some := await delete_old_runs(conn, self._env, before, ROWS_A_TURN)):
            deleted += some
        return deleted

    async def _sweep_cache(self, conn: Connection) -> int:
        swept = 0
        while some := await sweep_cache(conn, self._env, self._before(self._policy.cache), ROWS_A_TURN):
            swept += some
        return swept


def _planned(month: Month, look: Look) -> PlannedMonth:
    return PlannedMonth(
        name=month.name, starts=month.starts, ends=month.ends, events=look.events, runs=look.runs, kept=_kept(look)
    )


def _kept(look: Look) -> str:
    """Why a month stays, in words; empty where it may go."""
    if look.restored_at is not None:
        return "it was put back by hand"
    reasons = [
        (look.foreign_runs, "of other environments"),
        (look.open_runs, "not ended"),
        (look.young_runs, "ended too late"),
        (look.used_runs, "needed by runs that go on"),
    ]
    return ", ".join(f"{count} runs {words}" if count != 1 else f"1 run {words}" for count, words in reasons if count)


def _event(row: asyncpg.Record) -> Event:
    payload, found = row["payload"], row["payload_digest"]
    return Event(
        env=row["env"],
        partition=row["partition"],
        run_id=row["run_id"],
        seq=row["seq"],
        at_ms=to_ms(row["at"]),
        type=row["type"],
        node=row["node"],
        scope=row["scope"],
        attempt=row["attempt"],
        worker=row["worker"],
        facts=row["facts"].decode(),
        payload=None if payload is None else payload.decode(),
        payload_digest=None if found is None else found.hex(),
        prev_hash=row["prev_hash"].hex(),
        hash=row["hash"].hex(),
    )
