"""Lineage: the IRs that a run has had, one after the other, as its log says. Who reads the log needs all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...compiler.ir import Ir, IrHash
from ..errors import WorkflowNotFound
from ..events import Facts
from ..fold.migrated import ir_told
from ..marking.plan import Plan
from ..stores.connection import Connection
from ..stores.log import read_moves
from ..stores.workflows import get_ir


@dataclass(frozen=True)
class Stage:
    """``seq``: of the event from which on the run has this IR. ``version``: of its workflow."""

    seq: int
    plan: Plan
    version: int


@dataclass(frozen=True)
class Lineage:
    """``stages``: in order; the first is what the run began with."""

    stages: Sequence[Stage]

    @property
    def first(self) -> Plan:
        return self.stages[0].plan

    @property
    def last(self) -> Plan:
        return self.stages[-1].plan

    @property
    def irs(self) -> dict[str, Ir]:
        """All of them, by hash."""
        return {stage.plan.hash: stage.plan.ir for stage in self.stages}

    def at(self, seq: int) -> Stage:
        """Return what the run had after event ``seq``."""
        return [self.stages[0], *(stage for stage in self.stages[1:] if stage.seq <= seq)][-1]


async def read_lineage(
    conn: Connection, env: str, run_id: str, known: Sequence[Plan] = (), *, accepted: str = ""
) -> Lineage:
    """Return the lineage of a run. known: plans that need not be read. accepted: what it will begin with.

    Raises WorkflowNotFound where one of them is not stored. Cost: the run's part of an index, and an IR for each.
    """
    plans = {plan.hash: plan for plan in known}
    stages: list[Stage] = []
    moves = await read_moves(conn, run_id)
    if accepted and not moves:
        moves = [(0, Facts(type="run.started", data={"ir": accepted}))]
    for seq, facts in moves:
        address = IrHash(ir_told(facts))
        version = facts.data.get("version")
        if address not in plans:
            content = await get_ir(conn, env, address)
            if content is None:
                raise WorkflowNotFound(f"there is no IR {address}")
            plans[address] = Plan.load(address, content)
        stages.append(Stage(seq, plans[address], version if isinstance(version, int) else 0))
    if not stages:
        raise WorkflowNotFound(f"the log does not say how {run_id} began")
    return Lineage(stages)
