"""Given outputs: what somebody puts in the place of what steps gave, or would give, in a fork.

The base run is enacted again up to the fork's event (``reenacting``), with each given output in its step's place.
Whatever was settled after that step and depends on it begins anew, by the ways that the given output leads to; what
does not depend on it stays. What had not ended by then begins anew, too: who was asked is asked again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from anyio.to_thread import run_sync

from ...compiler.ir import Ir, RegionKind
from ..errors import InputInvalid, NotRestartable
from ..fold.cuts import Cut
from ..fold.fold import Folder
from ..history.lineage import Lineage
from ..marking.marking import TokenKind
from ..marking.named_steps import find_step
from ..marking.plan import Plan
from ..marking.scopes import Scope, parse_scope_key, scope_key, scope_text
from ..reenactment.enacting import Gone, enact
from ..reenactment.impact import downstream
from ..reenactment.oracle import Memory, Oracle
from ..reenactment.reenacting import Enacted, Enacting
from ..reenactment.restarting import GIVEN, RestartPlan, restart_plan
from ..stores.connection import Connection
from ..stores.log import stream_events

At: TypeAlias = tuple[int, Scope]


def place_given(plan: Plan, cut: Cut, given: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return given outputs by the places that they are meant for, as ``at_of`` reads them.

    given: by ``step``, or ``step[scope]`` with the scope as people read it or as the log has it. In a loop or a map a
    step alone is the one that lives at the cut, else the last that was settled. Raises StepNotFound, InputInvalid.
    """
    placed: dict[str, bytes] = {}
    for name, value in given.items():
        step, bracket, scope = name.partition("[")
        if bracket:
            number, key = find_step(plan, step, scope.removesuffix("]"))
            at = number, parse_scope_key(key)
        else:
            at = _last(plan, cut, step)
        key = _key(plan, at)
        if key in placed:
            raise InputInvalid(f"override: {given_text(plan, key)} is given twice", hint="leave out one of the two")
        if plan.ir.nodes[at[0]].is_map and not value.startswith(b"["):
            told = f"override: {given_text(plan, key)} is a map, and gives a list of items"
            raise InputInvalid(told, hint=f"for example --override '{step}=[1, 2]'")
        placed[key] = value
    return placed


def at_of(plan: Plan, key: str) -> At:
    step, _, scope = key.partition("[")
    return plan.numbers[step], parse_scope_key(scope.removesuffix("]"))


def given_text(plan: Plan, key: str) -> str:
    """Return ``step``, or ``step[poll#2]``: which one a given output stands for."""
    number, scope = at_of(plan, key)
    where = scope_text(plan.ir, number, scope)
    return f"{plan.node_ids[number]}[{where}]" if where else plan.node_ids[number]


def _key(plan: Plan, at: At) -> str:
    return f"{plan.node_ids[at[0]]}[{scope_key(at[1])}]" if at[1] else plan.node_ids[at[0]]


def _last(plan: Plan, cut: Cut, step: str) -> At:
    known = plan.numbers.get(step, -1)
    living = [at for at, token in cut.marking.tokens.items() if at[0] == known and token.kind is TokenKind.NORMAL]
    settled = [at for at, one in cut.settled.items() if at[0] == known and one.attempt]
    if known >= 0 and plan.ir.nodes[known].levels and (living or settled):
        return max(living) if living else settled[-1]
    number, key = find_step(plan, step, scope_key((1,) * len(plan.ir.nodes[known].levels)) if known >= 0 else "")
    return number, parse_scope_key(key)


async def read_given(
    conn: Connection, lineage: Lineage, run_id: str, seq: int, given: Mapping[str, bytes], input: bytes | None
) -> RestartPlan:
    """Return what a fork after event ``seq`` begins with in which outputs are given. given: by ``place_given``.

    Raises NotRestartable, Corrupt. Cost: the events up to there, and memory for their outputs.
    """
    plan = lineage.at(seq).plan
    memory = Memory(lineage.first.ir, lineage.irs)
    async for event in stream_events(conn, run_id):
        if event.seq > seq:
            break
        memory.add(event)
    oracle = memory.oracle()
    if oracle.undone:
        names = ", ".join(dict.fromkeys(plan.node_ids[number] for number, _ in oracle.undone))
        told = f"at event {seq} {run_id} was undoing what it had done ({names}): no output can be given any more"
        raise NotRestartable(told, reason="undone", hint=f"fork it at an event before that: courante events {run_id}")
    places = {at_of(plan, key): value for key, value in given.items()}
    before = await run_sync(without_dependents, plan.ir, oracle, [*places])
    enacted = await _enact(conn, run_id, plan, before, places, input)
    for at in places:
        one = enacted.cut.settled.get(at)
        if one is None or one.reason != GIVEN:
            raise await _not_reached(conn, lineage, run_id, seq, at)
    return await run_sync(restart_plan, plan, enacted.cut)


async def _enact(
    conn: Connection, run_id: str, plan: Plan, oracle: Oracle, given: Mapping[At, bytes], input: bytes | None
) -> Enacted:
    """Enact the run again, with the payloads that its expressions need."""
    try:
        return await enact(conn, Enacting(plan, oracle, given=given, input=input))
    except Gone as error:
        told = f"an output that decides where {run_id} goes is not stored any more"
        raise NotRestartable(told, reason="emptied") from error


async def _not_reached(conn: Connection, lineage: Lineage, run_id: str, seq: int, at: At) -> NotRestartable:
    """Why no output can be given there, and from which event on one can."""
    plan = lineage.at(seq).plan
    step = given_text(plan, _key(plan, at))
    folder = Folder(lineage.first.ir, irs=lineage.irs)
    async for event in stream_events(conn, run_id):
        folder.add(event)
        if event.seq > seq and at in folder.marking.tokens:
            told = f"{step} has not begun at event {seq} of {run_id}: it begins with event {event.seq}"
            return NotRestartable(told, reason="not_begun", hint=f"fork it at event {event.seq} or later")
    told = f"event {seq} of {run_id} does not lead to {step}: steps before it begin anew, or lead another way"
    hint = "give outputs to these instead, or fork at a later event"
    return NotRestartable(told, reason="not_reached", hint=hint)


def without_dependents(ir: Ir, oracle: Oracle, places: Sequence[At]) -> Oracle:
    """Return an oracle that knows nothing of what was settled after some places and depends on them."""
    answers = dict(oracle.answers)
    for at in places:
        known = oracle.answers.get(at)
        if known is None:
            continue
        follows = _follows(ir, at[0])
        for other, answer in oracle.answers.items():
            if answer.seq > known.seq and other[0] in follows and _depends(ir, other, at):
                answers.pop(other, None)
    return replace(oracle, answers=answers)


def _follows(ir: Ir, number: int) -> Collection[int]:
    """The nodes that can be reached from one; itself where it is in a loop."""
    node = ir.nodes[number]
    ahead = [ir.edges[edge].target for edge in (*node.outs, *node.milestones)]
    if node.loop_region >= 0:
        ahead.append(ir.regions[node.loop_region].entry)
    return downstream(ir, ahead)


def _depends(ir: Ir, other: At, at: At) -> bool:
    """Whether a place may depend on another one by where it is: other items do not, nor do earlier iterations."""
    levels = zip(ir.nodes[at[0]].levels, at[1], ir.nodes[other[0]].levels, other[1], strict=False)
    for mine, index, its, its_index in levels:
        if mine != its:
            break
        if index != its_index:
            return ir.regions[mine].kind is RegionKind.LOOP and its_index > index
    return True
