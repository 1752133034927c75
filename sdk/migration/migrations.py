"""Migrations: a live run goes on with another version of its workflow, when it is proved that it can.

The proof is made of the log, and the move is one script call that changes nothing if the run has moved since: then the
proof is made anew. Nothing is promised before the call, so nothing is left undone by who dies before it; who dies after
it has moved the run, and asking again finds that.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import anyio
import msgspec
from redis.asyncio import Redis

from ...compiler.fitting import fit
from ...compiler.ir import decode_ir, encode_ir, ir_hash
from ..corrupt import Corrupt
from ..errors import Blocker, InputInvalid, NotMigratable, NotRestartable, WorkflowNotFound
from ..fault_points import reach
from ..floor.bringing import bring_payloads
from ..floor.live_marking import RunHead
from ..floor.scripts import OUTBOX_HARD_MAX
from ..fold.cuts import Cut
from ..fold.migrated import Move
from ..history.cut_reading import read_cut
from ..history.lineage import Lineage, read_lineage
from ..history.own_run import own_run
from ..keys import Keys
from ..marking.marking import RunPhase
from ..marking.plan import Plan
from ..sealing.sealing import seal_text
from ..stores.connection import Connection, Pool
from ..stores.log import last_events
from ..stores.payloads import read_reference
from ..stores.runs import RunRow, get_run
from ..stores.workflows import WorkflowVersion, keep_ir, list_versions
from ..submissions.catalog import Catalog
from ..submissions.said_texts import check_said
from ..unavailable import AsUnavailable
from .migrating import IN_HANDS, blocked_in_hands, prove
from .migration_calls import migrate_run, migrate_words, read_head

LATEST = "latest"
PATIENCE_S = 3.0
"""How long it is tried anew with a run that moves on, has tokens in somebody's hands, or is ahead of its log."""
PAUSE_S = 0.05
_HASH = re.compile(r"[0-9a-f]{6,32}")
_MOVING = "its steps follow each other too fast, or their events are not in the log"


class VersionName(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a workflow, and the hash of the IR that the run has, or would have, by it."""

    version: int
    ir: str


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a move, or would. ``is_moved``: the run goes on with ``after`` now, and did not before.

    ``blockers``: what stands in the way; empty where nothing does. ``seq``: of the event after which it was looked at.
    ``by``: who has asked for it, as it is kept.
    """

    run_id: str
    workflow: str
    before: VersionName
    after: VersionName
    seq: int
    is_moved: bool = False
    blockers: tuple[Blocker, ...] = ()
    by: str | None = None


class _Look(NamedTuple):
    """A run, and the version that it is to go on with. ``new``: fitted to what it has. ``epoch``: of its partition."""

    run: RunRow
    head: RunHead
    lineage: Lineage
    target: WorkflowVersion
    new: Plan
    epoch: str

    @property
    def old(self) -> Plan:
        return self.lineage.last


class Migrations:
    """Moves runs of one environment. Safe for any number of tasks."""

    def __init__(
        self, redis: Redis, pool: Pool, keys: Keys, catalog: Catalog, *, outbox_hard_max: int = OUTBOX_HARD_MAX
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._catalog = catalog
        self._outbox_hard_max = outbox_hard_max

    async def preview(self, run_id: str, version: int | str) -> Migration:
        """Say whether the run can move, and what stands in the way. Changes nothing. Raises as ``migrate`` does."""
        with AsUnavailable():
            return await self._try(run_id, version, None)

    async def migrate(self, run_id: str, version: int | str, *, by: str | None, reason: str) -> Migration:
        """Let the run go on with a version. Asked twice it is done once.

        Raises RunNotFound, WorkflowNotFound, InputInvalid, NotMigratable, ServiceUnavailable.
        """
        check_said(by=by, reason=reason)
        with AsUnavailable():
            done = await self._try(run_id, version, (by or "", seal_text(reason)))
        if done.blockers:
            count = len(done.blockers)
            told = f"{run_id} cannot go on with version {done.after.version}: {done.blockers[0].message}"
            more = f" (and {count - 1} more)" if count > 1 else ""
            raise NotMigratable(told + more, reason="blocked", hint=done.blockers[0].hint, blockers=done.blockers)
        return msgspec.structs.replace(done, by=by)

    async def _try(self, run_id: str, version: int | str, said: tuple[str, str] | None) -> Migration:
        """Prove and move, again while the run moves on. said: by whom and why; None to look only."""
        found: Migration | None = None
        until = anyio.current_time() + PATIENCE_S
        while True:
            async with self._pool.acquire() as conn:
                look = await self._look(conn, run_id, version)
                if look is not None and look.old.hash == look.new.hash:
                    return _told(look)
                found = (None if look is None else await self._step(conn, look, said)) or found
            is_held = found is not None and any(blocker.code == IN_HANDS for blocker in found.blockers)
            if (found is not None and not is_held) or anyio.current_time() > until:
                break
            await anyio.sleep(PAUSE_S)
        if found is None:
            hint = f"courante pause {run_id}, and resume it afterwards; is a supervisor running?"
            raise NotMigratable(f"{run_id} could not be held still: {_MOVING}", reason="moving", hint=hint)
        if found.is_moved:
            await self._recorded(run_id, found)
        return found

    async def _step(self, conn: Connection, look: _Look, said: tuple[str, str] | None) -> Migration | None:
        """Prove, and move if nothing stands in the way; None where the run has moved on in between."""
        cut = await self._cut(conn, look)
        if cut is None:
            return None
        blockers = prove(look.run.run_id, look.old, look.new, cut, partition=look.run.partition)
        if blockers:
            return _told(look, blockers=tuple(blockers))
        move = None if said is None else Move(look.old.hash, look.new.hash, look.target.version, *said)
        words = migrate_words(
            look.run.run_id,
            look.old,
            look.new,
            cut.marking,
            move,
            epoch=look.epoch,
            outbox_hard_max=self._outbox_hard_max,
        )
        if move is not None:
            await self._bring(conn, look, cut)
            reach("before_migrate")
        verdict, taken = await migrate_run(self._redis, self._keys.partition(look.run.partition), words)
        reach("after_migrate")
        if verdict == "B":
            return _told(look, blockers=tuple(blocked_in_hands(look.run.run_id, look.old, taken)))
        if verdict in "AD":
            return _told(look, is_moved=move is not None)
        if verdict == "M":
            return None
        raise _refused(look.run, verdict)

    async def _look(self, conn: Connection, run_id: str, version: int | str) -> _Look | None:
        """Return the run as Redis and the log have it, None where the log is behind. Raises NotMigratable."""
        run = await own_run(conn, self._keys.env, run_id)
        target = await self._version(conn, run.workflow, version)
        if run.finished_at is not None:
            raise _refused(run, "E")
        partition = self._keys.partition(run.partition)
        pipe = self._redis.pipeline(transaction=False)
        pipe.hget(partition.run(run_id), "h")  # pyright: ignore[reportUnusedCoroutine]
        pipe.hget(partition.meta, "epoch")  # pyright: ignore[reportUnusedCoroutine]
        head_text, epoch = await pipe.execute()
        try:
            head = read_head(head_text)
        except ValueError as error:
            raise _refused(run, "H") from error
        if head is None or head.phase is RunPhase.HALTED:
            raise _refused(run, "U" if head is None else "H")
        if (await last_events(conn, [run_id])).get(run_id, 0) < head.seq:
            return None
        lineage = await read_lineage(conn, self._keys.env, run_id)
        if lineage.last.hash != head.ir_hash:
            return None
        content = (await self._catalog.known_plan(target.ir_hash, conn)).ir
        fitted = encode_ir(fit(lineage.last.ir, content))
        new = Plan(ir_hash(fitted), decode_ir(fitted))
        return _Look(run, head, lineage, target, new, (epoch or b"").decode())

    async def _version(self, conn: Connection, workflow: str, wanted: int | str) -> WorkflowVersion:
        """Return the version that is meant: a number, the beginning of its IR's hash, or the latest."""
        versions = await list_versions(conn, self._keys.env, workflow)
        text = str(wanted).strip().lower()
        if text == LATEST:
            latest = (await self._catalog.resolve(conn, workflow, None)).version
            return next(row for row in versions if row.version == latest)
        if text.isdecimal() and len(text) < 10:
            found = [row for row in versions if row.version == int(text)]
        elif _HASH.fullmatch(text):
            found = [row for row in versions if row.ir_hash.startswith(text)][-1:]
        else:
            told = f"{wanted!r:.100} is no version"
            raise InputInvalid(told, [told], hint="a number, the hash of its IR, or 'latest'")
        if not found:
            hint = f"'courante workflows show {workflow}' lists its versions"
            raise WorkflowNotFound(f"{workflow!r} has no version {wanted}", hint=hint)
        return found[0]

    async def _cut(self, conn: Connection, look: _Look) -> Cut | None:
        try:
            cut = await read_cut(conn, look.lineage, look.run.run_id, look.head.seq)
        except (Corrupt, msgspec.MsgspecError) as error:
            told = f"the log of {look.run.run_id} cannot be followed: {error}"
            hint = f"courante replay {look.run.run_id} --verify"
            raise NotMigratable(told, reason="unreadable", hint=hint) from error
        return cut if cut.seq == look.head.seq else None

    async def _bring(self, conn: Connection, look: _Look, cut: Cut) -> None:
        """Put the IR where everybody finds it, and payloads that are read again where workers find them."""
        content = encode_ir(look.new.ir)
        await keep_ir(conn, self._keys.env, look.new.hash, content)
        await self._redis.set(self._keys.ir(look.new.hash), content)
        newly = (
            value
            for at, value in cut.marking.outputs.items()
            if look.new.is_read[at[0]] and not look.old.is_read[at[0]]
        )
        wanted = [reference for value in newly if (reference := read_reference(value)) is not None]
        try:
            await bring_payloads(self._redis, conn, self._keys, wanted)
        except NotRestartable as error:
            raise NotMigratable(str(error), reason="unreadable") from error

    async def _recorded(self, run_id: str, done: Migration) -> None:
        """Wait until the log has it, so that Redis may lose it. A log that is behind is no reason to fail."""
        with anyio.move_on_after(PATIENCE_S):
            while True:
                async with self._pool.acquire() as conn:
                    if (await get_run(conn, run_id)).ir_hash == done.after.ir:
                        return
                await anyio.sleep(PAUSE_S)


def _told(look: _Look, *, is_moved: bool = False, blockers: tuple[Blocker, ...] = ()) -> Migration:
    return Migration(
        run_id=look.run.run_id,
        workflow=look.run.workflow,
        before=VersionName(version=look.lineage.stages[-1].version, ir=look.old.hash),
        after=VersionName(version=look.target.version, ir=look.new.hash),
        seq=look.head.seq,
        is_moved=is_moved,
        blockers=blockers,
    )


def _refused(run: RunRow, verdict: str) -> NotMigratable:
    """What a run is told by whom nothing can be moved any more, or yet."""
    if verdict == "U":
        told, hint = f"{run.run_id} has not begun yet", "ask again in a moment"
        return NotMigratable(told, reason="not_begun", hint=hint)
    if verdict == "H":
        told, hint = f"{run.run_id} is halted and waits for repair", f"courante status {run.run_id}"
        return NotMigratable(told, reason="halted", hint=hint)
    told = f"{run.run_id} is {run.status}" if run.finished_at is not None else f"{run.run_id} is ending"
    return NotMigratable(f"{told}: only a run that goes on can move", reason="ended", hint="start a new one")
