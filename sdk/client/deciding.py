"""Deciding: a person's word about a step that asks for one. The first decision stands; the next is told of it.

A decision may come before its step asks (it is kept), and never after: a step whose time is over has failed. Which
step is meant need not be said where only one can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..authoring.deferral import parse_defer_token
from ..errors import AlreadyDecided, InputInvalid, NothingWaits, StepUnclear
from ..floor.commanding import signal_name, token_of
from ..marking.marking import EXPIRED, Place
from ..marking.named_steps import find_step
from ..marking.plan import Plan
from ..marking.scopes import parse_scope_key, parse_token_key, scope_key, scope_text
from ..moments import iso_text
from ..stores.command_bodies import Body
from ..stores.commands import Decided, find_decision, find_decisions
from ..stores.connection import Connection, Pool
from ..stores.runs import StepRow, list_steps
from ..stores.status import StepStatus
from ..submissions.catalog import Catalog
from ..unavailable import AsUnavailable
from .control import Commanded, Control, DecidedBefore, Target, TokenRecord
from .separation import check_separate

DECISIONS = ("approve", "reject")
HANDED_HINT = "give the whole of it, as the step's context.defer() gave it"
_ENDED = frozenset({StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED})
_WORDS = {"approve": "approved", "reject": "rejected", "complete": "completed", "fail": "failed"}


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """``step``: None where there is only one that can be meant. ``data``: what the form asks for."""

    is_approval: bool
    step: str | None = None
    scope: str = ""
    reason: str = ""
    comment: str = ""
    data: Any = None
    by: str | None = None

    @property
    def type(self) -> str:
        return "approve" if self.is_approval else "reject"


class StepCommanded(Commanded, frozen=True, kw_only=True):
    """``step``, ``scope``: what it was about, the scope as people read it."""

    step: str
    scope: str = ""


class Decisions:
    """Decides about steps of one environment's runs."""

    def __init__(self, control: Control, pool: Pool, catalog: Catalog) -> None:
        self._control = control
        self._pool = pool
        self._catalog = catalog

    async def end(self, token: str, output: Any, error: str | None, by: str | None) -> StepCommanded:
        """End a step that was handed out. error: None where it has succeeded.

        Raises InputInvalid, RunNotFound, NothingWaits, AlreadyDecided, ServiceUnavailable.
        """
        try:
            handed = parse_defer_token(token)
        except ValueError as cause:
            raise InputInvalid(str(cause), hint=HANDED_HINT) from cause
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                target = await self._control.find(conn, handed.run_id)
                number, scope = parse_token_key(handed.token_key)
                if number >= len(target.plan.ir.nodes) or len(target.plan.ir.nodes[number].levels) != len(scope):
                    told = f"{token!r} is no token of this run: its workflow has no such step"
                    raise InputInvalid(told, hint=HANDED_HINT)
                body = Body(
                    step=target.plan.node_ids[number],
                    scope=scope_key(scope),
                    attempt=handed.attempt,
                    output=output,
                    error=error or "",
                )
                kind = "complete" if error is None else "fail"
                return await self._give_first(conn, target, kind, body, by, await list_steps(conn, handed.run_id))

    async def decide(self, run_id: str, decision: Decision) -> StepCommanded:
        """Raises RunNotFound, StepNotFound, StepUnclear, InputInvalid, NothingWaits, AlreadyDecided.

        And ApproverNotSeparate, and ServiceUnavailable where Postgres is away.
        """
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                target = await self._control.find(conn, run_id)
                steps = await list_steps(conn, run_id)
                number, scope = await self._which(conn, target, steps, decision)
                body = self._body(target.plan, number, scope, decision)
                await check_separate(conn, run_id, target.plan.ir.nodes[number], decision.by)
                return await self._give_first(conn, target, decision.type, body, decision.by, steps)

    async def _give_first(
        self, conn: Connection, target: Target, kind: str, body: Body, by: str | None, steps: Sequence[StepRow]
    ) -> StepCommanded:
        """Give what only the first may give. Raises NothingWaits, AlreadyDecided."""
        name = signal_name(kind, body, token_of(target.plan, body))
        scope = parse_scope_key(body.scope)
        where = scope_text(target.plan.ir, target.plan.node_ids.index(body.step), scope)
        shown = f"{body.step} {where}".strip()
        token = await self._control.token_record(target, body)
        problem = _too_late(token, steps, body, shown)
        first = await find_decision(conn, target.run_id, name)  # after the look: who was first may be why it is late
        if first is not None and not (problem is not None and _has_expired(steps, body)):
            raise already_decided(first, shown)
        if problem is not None:
            raise problem
        said = msgspec.structs.replace(body, is_asked=token is not None and name in token.waits)
        try:
            done = await self._control.give(conn, target, kind, said, by, decides=name)
        except DecidedBefore as error:
            raise already_decided(error.decided, shown) from error
        if done.state == "no_effect" and done.number:
            done = msgspec.structs.replace(done, reason=f"it came too late: {shown} waited for it no more")
        return StepCommanded(**msgspec.structs.asdict(done), step=body.step, scope=where)

    async def _which(
        self, conn: Connection, target: Target, steps: Sequence[StepRow], decision: Decision
    ) -> tuple[int, str]:
        """Return the node and the scope key that are meant."""
        plan = target.plan
        if decision.step is not None and (decision.scope or not _levels(plan, decision.step)):
            return find_step(plan, decision.step, decision.scope)
        waiting = [
            (plan.node_ids.index(row.node), row.scope)
            for row in steps
            if row.status is StepStatus.WAITING and row.reason == "approval" and decision.step in (None, row.node)
        ]
        if len(waiting) == 1:
            return waiting[0]
        if waiting:
            names = sorted(step_name(plan, *place) for place in waiting)
            told = f"{len(names)} steps wait for a decision: {', '.join(names)}"
            raise StepUnclear(told, names, hint="say which one is meant")
        if decision.step is not None:
            return find_step(plan, decision.step, decision.scope)  # says that a scope is missing
        return await self._expected(conn, target, steps)

    async def _expected(self, conn: Connection, target: Target, steps: Sequence[StepRow]) -> tuple[int, str]:
        """Nothing waits: the one step that is still to ask is meant, if there is one."""
        plan = target.plan
        asking = [number for number, node in enumerate(plan.ir.nodes) if node.approval is not None]
        known = {row.node for row in steps if row.status in _ENDED}
        decided = await find_decisions(conn, target.run_id, DECISIONS)
        known |= {msgspec.json.decode(each.body, type=Body).step for each in decided}
        open_ones = [number for number in asking if plan.node_ids[number] not in known]
        if len(open_ones) == 1 and not plan.ir.nodes[open_ones[0]].levels and target.run.finished_at is None:
            return open_ones[0], ""
        if decided:
            last = msgspec.json.decode(decided[-1].body, type=Body)
            raise already_decided(decided[-1], step_name(plan, plan.node_ids.index(last.step), last.scope))
        if not asking:
            raise NothingWaits(f"no step of {plan.ir.workflow!r} asks for a decision")
        status = f": the run is {target.run.status}" if target.run.finished_at is not None else ""
        names = [plan.node_ids[number] for number in open_ones]
        hint = f"to decide before a step asks, name it: {', '.join(names)}" if names and not status else ""
        raise NothingWaits(f"no step of the run waits for a decision now{status}", hint=hint)

    def _body(self, plan: Plan, number: int, scope: str, decision: Decision) -> Body:
        node = plan.ir.nodes[number]
        if node.approval is None:
            asking = [each.id for each in plan.ir.nodes if each.approval is not None]
            hint = f"these ask: {', '.join(asking)}" if asking else "no step of this workflow does"
            told = f"step {node.id!r} asks nobody: it has no 'requires_approval' and is no approval"
            raise InputInvalid(told, hint=hint)
        form = node.approval.form
        if form is not None and decision.is_approval:
            problems = self._catalog.schemas.problems((plan.hash, number), form, decision.data, "data")
            if problems:
                told = f"the data do not fit the form of {node.id!r}: {problems[0]}"
                raise InputInvalid(told, problems, hint="'courante workflows show' has the form: a JSON Schema")
        return Body(step=node.id, scope=scope, reason=decision.reason, comment=decision.comment, data=decision.data)


def _too_late(token: TokenRecord | None, steps: Sequence[StepRow], body: Body, shown: str) -> NothingWaits | None:
    """Return what is wrong with a step that has asked and asks no more; one that will ask may be told now."""
    rows = [row for row in steps if (row.node, row.scope) == (body.step, body.scope)]
    last = max(rows, key=lambda row: row.attempt, default=None)
    what = f"attempt {body.attempt} of {shown} waits for nobody" if body.attempt else f"{shown} waits for no decision"
    if last is not None and (last.status in _ENDED or last.attempt > body.attempt > 0):
        why = f" ({last.error.type})" if last.error is not None else ""
        return NothingWaits(f"{what} any more: it is {last.status}{why}")
    if token is None or (token.lives and token.place == Place.SIGNAL):
        return None
    has_asked = last is not None and last.status is StepStatus.WAITING and last.reason in ("approval", "outside")
    if token.attempt > body.attempt > 0 or token.word == EXPIRED or (has_asked and not token.lives):
        return NothingWaits(f"{what} any more")
    return None


def _has_expired(steps: Sequence[StepRow], body: Body) -> bool:
    """Whether nobody has decided in time. A decision that came in that very moment had no effect."""
    errors = [row.error for row in steps if (row.node, row.scope) == (body.step, body.scope)]
    return any(error is not None and error.type == "APPROVAL_EXPIRED" for error in errors)


def already_decided(first: Decided, shown: str) -> AlreadyDecided:
    """``shown``: the step as people read it."""
    by = f" by {first.by}" if first.by else ""
    told = f"{shown} was {_WORDS[first.type]}{by} at {iso_text(first.created_at)}; the first decision stands"
    return AlreadyDecided(told, decision=first.type, by=first.by, at=first.created_at)


def step_name(plan: Plan, number: int, scope: str) -> str:
    """``step`` or ``step scope``, as people read it."""
    return f"{plan.node_ids[number]} {scope_text(plan.ir, number, parse_scope_key(scope))}".strip()


def _levels(plan: Plan, step: str) -> bool:
    return step in plan.node_ids and bool(plan.ir.nodes[plan.node_ids.index(step)].levels)
