"""Restarts: runs that go on from others: new runs, with ``base_run_id``, started by an ordinary command.

A retry and the requeue of a dead letter go on from where a run was before it came to its bad end (``restarting``), of
the same IR and with the input of their base. The other ways are said by ``base_terms``. Who asks twice for the same of
the same base run gets the same run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import msgspec

from ...compiler.ir import encode_ir
from ..base_terms import BaseTerms, needs_salt, restart_key
from ..errors import NotRestartable
from ..history.cut_reading import read_whole_cut
from ..history.lineage import Lineage, Stage, read_lineage
from ..history.own_run import own_run
from ..ids import new_run_id
from ..keys import Keys
from ..marking.marking import Corrupt
from ..marking.plan import Plan
from ..reenactment.impact import beginnings, impacted, reused
from ..reenactment.restarting import RestartPlan
from ..restarts.bases import forked, read_restart
from ..restarts.dropped_outputs import check_artifacts
from ..restarts.given import given_text, place_given
from ..restarts.reruns import AGAIN, check_recorded, check_version, with_seeds
from ..restarts.retries import Retry, Way, plan_retry
from ..restarts.wishes import Trigger, Wish
from ..sealing.payload_terms import PAYLOAD_TERMS
from ..stores.commands import Accepted, StartCommand, get_command, run_id_of_key
from ..stores.connection import Connection, Pool
from ..stores.dead_letters import close_requeued
from ..stores.log import last_events
from ..stores.runs import RunRow
from ..stores.salts import read_salt
from ..stores.status import RunStatus
from ..stores.workflows import keep_ir
from ..submissions.catalog import Catalog
from ..submissions.said_texts import check_said
from ..submissions.submissions import partition_of
from ..unavailable import AsUnavailable
from .separation import check_restart
from .submitting import Submitter

RETRIED = frozenset({RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.TIMED_OUT})
"""How runs end from which a retry goes on."""


class Restarted(msgspec.Struct, frozen=True, kw_only=True):
    """A run that goes on from ``base_run_id`` after its event ``base_seq``. ``is_new``: it was not started before.

    ``impacted``: steps that may be executed, ``reused``: those that are not again. ``given``: those whose outputs were
    given, in loops and maps with their scope: ``poll[poll#2]``. ``scopes``: of ``impacted``, in loops and maps, where
    they are executed first. ``version``: of the workflow, that the run has.
    Of a retry, ``way``: resumed, with the version of its base; migrated or reenacted, with another one, or reenacted
    where a map's items failed; and ``why``: of each of ``impacted`` (``Retry.why``). ``by``: who has asked for it, as
    it is kept.
    """

    run_id: str
    base_run_id: str
    base_seq: int
    is_new: bool
    impacted: tuple[str, ...] = ()
    reused: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    scopes: dict[str, tuple[str, ...]] = {}
    version: int = 0
    way: Way = ""
    why: dict[str, str] = {}
    by: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Base:
    run: RunRow
    stage: Stage
    seq: int
    restart: RestartPlan
    terms: BaseTerms | None
    key: str = ""
    retry: Retry | None = None

    @property
    def plan(self) -> Plan:
        return self.stage.plan


class Restarts:
    """Of one environment. Safe for any number of tasks."""

    def __init__(self, pool: Pool, keys: Keys, catalog: Catalog, submitter: Submitter, *, partitions: int) -> None:
        self._pool = pool
        self._keys = keys
        self._catalog = catalog
        self._submitter = submitter
        self._partitions = partitions

    async def preview(self, run_id: str, wish: Wish) -> Restarted:
        """Return what ``restart`` would do. Raises as it does."""
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                base = await self._base(conn, run_id, wish)
                known = run_id_of_key(self._keys.env, base.key)
                is_new = await get_command(conn, known, 1) is None
        return _told(base, known, None, is_new=is_new)

    async def restart(self, run_id: str, wish: Wish, by: str | None, *, again: bool = False) -> Restarted:
        """Start a run that goes on from this one.

        again: also where that was done before. Raises RunNotFound, NotRestartable, InputInvalid, ApproverNotSeparate,
        PayloadUnreadable, ServiceUnavailable.
        """
        check_said(by=by)
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                base = await self._base(conn, run_id, wish)
                known = run_id_of_key(self._keys.env, base.key)
                if not again and wish.key is None and await get_command(conn, known, 1) is not None:
                    return _told(base, known, by, is_new=False)  # perhaps in another way than it would go now
                asked = await get_command(conn, run_id, 1)
                resolved = await self._catalog.resolve(conn, base.run.workflow, base.stage.version)
                if base.terms is not None and base.terms.version:  # its IR is fitted to the base's, and so a new one
                    await keep_ir(conn, self._keys.env, base.plan.hash, encode_ir(base.plan.ir))
                    await self._catalog.plan(base.plan.hash, conn)
        assert asked is not None
        has_input = wish.terms is not None and wish.terms.has_input
        new_id = new_run_id() if again else known
        command = StartCommand(
            env=self._keys.env,
            run_id=new_id,
            partition=partition_of(new_id, self._partitions, base.plan),
            workflow=base.run.workflow,
            version=base.stage.version,
            ir_hash=base.plan.hash,
            input=wish.input if has_input else PAYLOAD_TERMS.decode(asked.body),
            asked_version=base.stage.version,
            idempotency_key=None if again else base.key,
            by=by,
            tags=base.run.tags,
            trigger=wish.trigger,
            base_run_id=run_id,
            base_seq=base.seq,
            base_terms=base.terms,
        )
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                await check_restart(conn, base.plan, base.restart.marking, base.restart.events, command)
        resolved = resolved._replace(plan=base.plan)
        verdict = await self._submitter.restart(command, resolved, _closing(run_id, wish.trigger), base.restart)
        return _told(base, new_id, by, is_new=isinstance(verdict, Accepted))

    async def _base(self, conn: Connection, run_id: str, wish: Wish) -> _Base:
        run = await own_run(conn, self._keys.env, run_id)
        if wish.terms is None:
            _check_status(run, wish.trigger)
        else:
            check_recorded(run, wish.terms)
        plan = await self._catalog.plan(run.ir_hash, conn)
        try:
            lineage = await read_lineage(conn, self._keys.env, run_id, [plan])
            base = await self._planned(conn, run, lineage, wish)
            await check_artifacts(conn, self._keys.env, base.plan, base.restart, run_id)
        except (Corrupt, msgspec.MsgspecError) as error:
            told = f"the log of {run_id} cannot be followed: {error}"
            raise NotRestartable(told, reason="unreadable", hint=f"courante replay {run_id} --verify") from error
        if wish.terms is not None and wish.terms.has_input:
            self._catalog.check_input(base.plan, wish.input)
        if wish.key is not None:
            return replace(base, key=wish.key)
        salt = await read_salt(conn, self._keys.env) if needs_salt(base.terms) else b""
        asked = (base.seq, base.terms) if base.retry is None else (base.retry.asked_seq, base.retry.asked)
        return replace(base, key=restart_key(run_id, *asked, wish.input, salt))

    async def _is_known(self, conn: Connection, wish: Wish) -> bool:
        """Return whether something was accepted with the key of this wish; the submitter tells if it was another."""
        return wish.key is not None and await get_command(conn, run_id_of_key(self._keys.env, wish.key), 1) is not None

    async def _planned(self, conn: Connection, run: RunRow, lineage: Lineage, wish: Wish) -> _Base:
        terms = wish.terms
        if terms is None:
            retry = await plan_retry(conn, self._catalog, run, lineage, wish.version)
            return _Base(
                run=run, stage=retry.stage, seq=retry.seq, restart=retry.restart, terms=retry.terms, retry=retry
            )
        if terms.way in AGAIN:
            terms = with_seeds(lineage.last, run, terms)
            if terms.way == "rebuild" and not wish.is_any_version and not await self._is_known(conn, wish):
                latest = await self._catalog.resolve(conn, run.workflow, None)
                check_version(run, lineage, (latest.version, latest.plan.hash))
            seq = (await last_events(conn, [run.run_id]))[run.run_id]
        else:
            cut = await read_whole_cut(conn, lineage, run.run_id, wish.seq)
            seq = cut.seq
            stage = lineage.at(seq)
            if not terms.given:
                restart = await forked(stage.plan, cut, wish.input or None)
                return _Base(run=run, stage=stage, seq=seq, restart=restart, terms=terms)
            terms = msgspec.structs.replace(terms, given=place_given(stage.plan, cut, terms.given))
        restart = await read_restart(conn, lineage, run.run_id, seq, terms, wish.input or None)
        return _Base(run=run, stage=lineage.at(seq), seq=seq, restart=restart, terms=terms)


def _closing(run_id: str, trigger: Trigger) -> Callable[[Connection], Awaitable[object]]:
    """What is committed with the start: what is done again has no dead letters any more. A fork is another run."""

    async def close(conn: Connection) -> None:
        if trigger != "fork":
            await close_requeued(conn, run_id)

    return close


def _check_status(run: RunRow, trigger: Trigger) -> None:
    allowed = {RunStatus.FAILED} if trigger == "requeue" else RETRIED
    if run.status in allowed:
        return
    is_over = run.finished_at is not None
    told = f"{run.run_id} is {run.status}: {'nothing of it failed' if is_over else 'it has not ended'}"
    hint = f"courante retry {run.run_id}" if is_over and run.status in RETRIED else f"courante status {run.run_id}"
    raise NotRestartable(told, reason="not_failed", hint=hint)


def _told(base: _Base, run_id: str, by: str | None, *, is_new: bool) -> Restarted:
    executed = impacted(base.plan.ir, base.restart.marking)
    given = () if base.terms is None else base.terms.given
    return Restarted(
        run_id=run_id,
        base_run_id=base.run.run_id,
        base_seq=base.seq,
        is_new=is_new,
        impacted=tuple(executed),
        reused=tuple(reused(base.restart.events, executed)),
        given=tuple(given_text(base.plan, key) for key in given),
        scopes=beginnings(base.plan.ir, base.restart.marking),
        version=base.stage.version,
        way="" if base.retry is None else base.retry.way,
        why={} if base.retry is None else base.retry.why(),
        by=by,
    )
