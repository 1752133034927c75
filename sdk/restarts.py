"""Restarts: runs that go on from others: new runs, with ``base_run_id``, started by an ordinary command.

A retry and the requeue of a dead letter go on from where a run was before it came to its bad end (``restarting``), of
the same IR and with the input of their base. The other ways are said by ``base_terms``. Who asks twice for the same of
the same base run gets the same run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from ..compiler.ir import encode_ir
from .base_terms import BaseTerms, restart_key
from .bases import read_ending, read_restart, read_whole_cut
from .catalog import Catalog
from .control import check_said
from .cuts import Ending
from .errors import InputInvalid, NotRestartable
from .given import given_text, place_given
from .ids import new_run_id
from .impact import impacted, reused
from .keys import Keys
from .lineage import Lineage, Stage, read_lineage
from .marking import Corrupt
from .own_run import own_run
from .payload_terms import PAYLOAD_TERMS
from .plan import Plan
from .reruns import AGAIN, check_version, with_seeds
from .restarting import RestartPlan
from .retried_versions import fitted
from .stores.commands import Accepted, StartCommand, get_command, run_id_of_key
from .stores.connection import Connection, Pool
from .stores.dead_letters import close_requeued
from .stores.log import last_events
from .stores.runs import RunRow
from .stores.status import RunStatus
from .stores.workflows import keep_ir
from .submissions import partition_of
from .submitting import Submitter
from .unavailable import AsUnavailable
from .wishes import BASE, NEWEST, Trigger, Wish

RETRIED = frozenset({RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.TIMED_OUT})
"""How runs end from which a retry goes on."""


class Restarted(msgspec.Struct, frozen=True, kw_only=True):
    """A run that goes on from ``base_run_id`` after its event ``base_seq``. ``is_new``: it was not started before.

    ``impacted``: steps that may be executed, ``reused``: those that are not again. ``given``: those whose outputs were
    given, in loops and maps with their scope: ``poll[poll#2]``.
    """

    run_id: str
    base_run_id: str
    base_seq: int
    is_new: bool
    impacted: tuple[str, ...] = ()
    reused: tuple[str, ...] = ()
    given: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Base:
    run: RunRow
    stage: Stage
    seq: int
    restart: RestartPlan
    key: str
    terms: BaseTerms | None

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
        return _told(base, known, is_new=is_new)

    async def restart(self, run_id: str, wish: Wish, by: str | None, *, again: bool = False) -> Restarted:
        """Start a run that goes on from this one.

        again: also where that was done before. Raises RunNotFound, NotRestartable, InputInvalid, PayloadUnreadable,
        ServiceUnavailable.
        """
        check_said(by=by)
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                base = await self._base(conn, run_id, wish)
                asked = await get_command(conn, run_id, 1)
                resolved = await self._catalog.resolve(conn, base.run.workflow, base.stage.version)
                if base.terms is not None and base.terms.version:  # its IR is fitted to the base's, and so a new one
                    await keep_ir(conn, self._keys.env, base.plan.hash, encode_ir(base.plan.ir))
                    await self._catalog.plan(base.plan.hash, conn)
        assert asked is not None
        has_input = wish.terms is not None and wish.terms.has_input
        new_id = new_run_id() if again else run_id_of_key(self._keys.env, base.key)
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
        resolved = resolved._replace(plan=base.plan)
        verdict = await self._submitter.restart(command, resolved, _closing(run_id, wish.trigger))
        return _told(base, new_id, is_new=isinstance(verdict, Accepted))

    async def _base(self, conn: Connection, run_id: str, wish: Wish) -> _Base:
        run = await own_run(conn, self._keys.env, run_id)
        if wish.terms is None:
            _check_status(run, wish.trigger)
        plan = await self._catalog.plan(run.ir_hash, conn)
        try:
            lineage = await read_lineage(conn, self._keys.env, run_id, [plan])
            base = await self._planned(conn, run, lineage, wish)
        except (Corrupt, msgspec.MsgspecError) as error:
            told = f"the log of {run_id} cannot be followed: {error}"
            raise NotRestartable(told, reason="unreadable", hint=f"courante replay {run_id} --verify") from error
        if wish.terms is not None and wish.terms.has_input:
            self._catalog.check_input(base.plan, wish.input)
        return base

    async def _planned(self, conn: Connection, run: RunRow, lineage: Lineage, wish: Wish) -> _Base:
        terms = wish.terms
        if terms is not None and terms.way in AGAIN:
            terms = with_seeds(lineage.last, run, terms)
            if terms.way == "rebuild" and not wish.is_any_version:
                latest = await self._catalog.resolve(conn, run.workflow, None)
                check_version(run, lineage, (latest.version, latest.plan.hash))
            seq = (await last_events(conn, [run.run_id]))[run.run_id]
        elif terms is not None and terms.way == "fork":
            cut = await read_whole_cut(conn, lineage, run.run_id, wish.seq)
            seq = cut.seq
            terms = msgspec.structs.replace(terms, given=place_given(lineage.at(seq).plan, cut, terms.given))
        else:
            ending = await read_ending(conn, lineage, run.run_id)
            _check_ending(lineage.last, run, ending)
            seq = ending.seq - 1
        stage = lineage.at(seq)
        if wish.version != BASE:
            stage, terms = await self._other_version(conn, run, stage, wish.version)
        key = restart_key(run.run_id, seq, terms, wish.input)
        restart = await read_restart(conn, lineage, run.run_id, seq, terms, wish.input or None, stage.plan)
        return _Base(run=run, stage=stage, seq=seq, restart=restart, key=key, terms=terms)

    async def _other_version(
        self, conn: Connection, run: RunRow, stage: Stage, version: int | str
    ) -> tuple[Stage, BaseTerms | None]:
        """Return what a retry with another version goes on with. Raises WorkflowNotFound, InputInvalid."""
        if not isinstance(version, int) and version != NEWEST:
            raise InputInvalid(f"version: {version!r:.40} is none", hint=f"a number, {BASE!r} or {NEWEST!r}")
        resolved = await self._catalog.resolve(conn, run.workflow, None if version == NEWEST else int(version))
        plan = fitted(stage.plan, resolved.plan)
        if plan is stage.plan:
            return stage, None
        return Stage(stage.seq, plan, resolved.version), BaseTerms(way="retry", version=resolved.version)


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


def _check_ending(plan: Plan, run: RunRow, ending: Ending) -> None:
    if not ending.seq:
        told = f"no step of {run.run_id} failed: its output could not be made, and could not be again"
        raise NotRestartable(told, reason="not_failed", hint=f"courante status {run.run_id}")
    if ending.undone:
        names = ", ".join(dict.fromkeys(plan.node_ids[number] for number, _ in ending.undone))
        told = f"when {run.run_id} ended, what it had done was undone ({names}): nothing is left to go on from"
        raise NotRestartable(told, reason="undone", hint=f"start it anew: courante run {run.workflow}")


def _told(base: _Base, run_id: str, *, is_new: bool) -> Restarted:
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
    )
