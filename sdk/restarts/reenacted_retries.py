"""Retries that enact their base again by another version of the workflow.

Where a retry cannot go on from where its base ended (``retried_versions``), or where something that was done would be
done otherwise now, the base is played again by the rules of the other version. Steps that are in both, are the same and
get the same are answered for from the log, and every decision is made again; what is new, changed or gets something
else, what failed, and all that follows from these is executed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from anyio.to_thread import run_sync

from ..errors import NotRestartable
from ..fold.cuts import Settled
from ..history.lineage import Lineage
from ..marking.marking import TokenKind
from ..marking.plan import Plan
from ..marking.scopes import Scope
from ..outcomes.node_code import Codes
from ..reenactment.enacting import Gone, enact, play
from ..reenactment.impact import needed
from ..reenactment.likeness import CHANGED, Likeness, Seen
from ..reenactment.oracle import Memory, Oracle
from ..reenactment.redeciding import WHEN
from ..reenactment.reenacting import Enacted, Enacting
from ..reenactment.refitting import Refitting
from ..reenactment.restarting import RestartPlan, restart_plan
from ..stores.connection import Connection
from ..stores.log import stream_events

At: TypeAlias = tuple[int, Scope]
Enact: TypeAlias = Callable[[Enacting], Awaitable[Enacted]]


class Reenacted(NamedTuple):
    """``restart``: what the new run begins with. ``why``: of the steps that are executed first, by id.

    ``differs``: whether anything is done or decided otherwise that had been by an event of the base.
    """

    restart: RestartPlan
    why: Mapping[str, str]
    differs: bool


async def read_memory(conn: Connection, lineage: Lineage, run_id: str, *, hears_ending: bool = False) -> Memory:
    """Return what the log of a run says of its steps. Raises Corrupt. Cost: its events; keeps their outputs."""
    memory = Memory(lineage.first.ir, lineage.irs, hears_ending=hears_ending)
    async for event in stream_events(conn, run_id):
        memory.add(event)
    return memory


async def read_reenacted(conn: Connection, lineage: Lineage, run_id: str, plan: Plan) -> Reenacted:
    """As ``reenacted``, of a run that is still to be read. Raises Corrupt, too."""
    return await reenacted(conn, lineage, await read_memory(conn, lineage, run_id), plan)


async def reenacted(
    conn: Connection, lineage: Lineage, memory: Memory, plan: Plan, before: Mapping[At, Settled] | None = None
) -> Reenacted:
    """Return what a run begins with that does its base again by ``plan``. before: what ``differs`` is asked of.

    Raises NotRestartable, PayloadUnreadable. Cost: the base is enacted twice, more often where outputs are not stored
    any more.
    """
    oracle = memory.oracle()
    if not oracle.has_input:
        told = f"the input of {oracle.run_id} is not stored any more: nothing is left to go on from"
        raise NotRestartable(told, reason="emptied")
    seen: dict[At, Seen] = {}
    await play(Enacting(lineage.last, oracle, seen=seen))
    retrying = await run_sync(Retrying, lineage.last, plan, oracle, seen)
    return await retrying.read(lambda enacting: enact(conn, enacting), before)


class Retrying:
    """Of a base whose last version is ``old``, by ``new``. seen: what its steps read by ``old``."""

    def __init__(self, old: Plan, new: Plan, oracle: Oracle, seen: Mapping[At, Seen]) -> None:
        self._old, self._new = Codes(old), Codes(new)
        self._fitting = Refitting(self._old, self._new)
        self._base = oracle
        self._known = self._fitting.oracle(_held(oracle, seen))
        self._lost: set[bytes] = set()  # references to what is not stored any more
        self._likeness = Likeness(self._old, self._new, self._fitting.olds, seen, oracle.done_by, self._lost)
        self._gone: set[At] = set()  # places of the new version whose outputs are not stored any more, and are needed

    async def read(self, enact: Enact, before: Mapping[At, Settled] | None = None) -> Reenacted:
        """Outputs that are gone and would be read are made anew, by whoever gave them. Raises NotRestartable."""
        plan = self._new.plan
        while True:
            oracle = await run_sync(self._left)
            answers = oracle.answers
            try:
                enacted = await enact(Enacting(plan, oracle, is_rerouting=True, likeness=self._likeness))
            except Gone as error:
                if error.reference in self._lost:
                    told = f"{error}: it decides where {oracle.run_id} goes"
                    raise NotRestartable(told, reason="emptied") from error
                self._lost.add(error.reference)
                lost = {at for at, one in answers.items() if one.settled.output == error.reference}
            else:
                read = needed(plan, enacted.cut.marking)
                lost = {at for at in enacted.cut.emptied if at[0] in read and at in answers}
                if not lost:
                    break
            self._gone |= lost
        return await run_sync(self._reenacted, enacted, before)

    def _left(self) -> Oracle:
        """What can still be answered with."""
        answers = {at: answer for at, answer in self._known.answers.items() if at not in self._gone}
        return replace(self._known, answers=answers)

    def _reenacted(self, enacted: Enacted, before: Mapping[At, Settled] | None) -> Reenacted:
        differs = before is not None and self._differs(before, enacted)
        return Reenacted(restart_plan(self._new.plan, enacted.cut), self._why(enacted), differs)

    def _differs(self, before: Mapping[At, Settled], enacted: Enacted) -> bool:
        """Whether what was settled by then is settled otherwise now, or not any more; or led another way."""
        ours, now = self._fitting.numbers, enacted.cut.settled
        if any(_fate(one) != _fate(now.get((ours.get(at[0], -1), at[1]))) for at, one in before.items()):
            return True
        return any(
            WHEN in (then, after) or self._fitting.leads_elsewhere(at[0], then, after)
            for at, (then, after) in enacted.rerouted.items()
        )

    def _why(self, enacted: Enacted) -> dict[str, str]:
        tokens = enacted.cut.marking.tokens
        nodes = self._new.plan.ir.nodes
        floor = [at for at, token in tokens.items() if token.kind is TokenKind.NORMAL and not nodes[at[0]].is_gate]
        found: dict[str, str] = {}
        for at in sorted(floor):
            found.setdefault(nodes[at[0]].id, self._why_at(at, enacted))
        return found

    def _why_at(self, at: At, enacted: Enacted) -> str:
        if at in enacted.unlike:
            return enacted.unlike[at]
        if at in self._gone:
            return "emptied"
        number = self._fitting.olds.get(at[0])
        if number is None:
            return CHANGED if self._new.plan.node_ids[at[0]] in self._old.plan.numbers else "new"
        if (number, at[1]) in self._base.undone:
            return "undone"
        known = self._base.answers.get((number, at[1]))
        return "failed" if known is not None and known.settled.status == "FAILED" else "not_done"


def _held(oracle: Oracle, seen: Mapping[At, Seen]) -> Oracle:
    """Return what can be answered with: all that the base itself went on from.

    A failure by which the base failed is none of that, whatever the other version would make of it; nor is what was
    undone.
    """
    undone: Collection[At] = frozenset(oracle.undone)
    answers = {
        at: answer
        for at, answer in oracle.answers.items()
        if at not in undone and (answer.settled.status == "SKIPPED" or at in seen)
    }
    return replace(oracle, answers=answers)


def _fate(settled: Settled | None) -> str:
    """Return how a step ended; dead paths are nobody's deed."""
    if settled is None or (settled.status == "SKIPPED" and not settled.attempt):
        return ""
    return settled.status
