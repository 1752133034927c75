"""Impact: which steps are executed when something begins anew, and which are not again. Pure.

Whatever can be reached from a step depends on it. A loop goes round as a whole: what is impacted in its body impacts
all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeAlias

from ..compiler.ir import Ir, ReadKind
from .events import Facts
from .marking import GOES_ON, Marking, RunPhase
from .plan import Plan
from .scopes import START_NODE

Event: TypeAlias = "tuple[Facts, bytes | None]"


def downstream(ir: Ir, seeds: Iterable[int]) -> set[int]:
    """Return the nodes that depend on some, and these."""
    found: set[int] = set()
    ahead = list(seeds)
    while ahead:
        number = ahead.pop()
        if number in found:
            continue
        found.add(number)
        node = ir.nodes[number]
        ahead += (ir.edges[edge].target for edge in (*node.outs, *node.milestones))
        if node.loop_region >= 0:
            ahead.append(ir.regions[node.loop_region].entry)
    return found


def executed(ir: Ir, marking: Marking) -> set[int]:
    """Return the nodes that may be executed from a marking on; of a run that is ending, those that undo something."""
    if marking.phase not in GOES_ON:
        living = {number for number, _ in marking.tokens if number >= 0}
        undoing = {ir.nodes[number].compensate for number, _ in marking.completed}
        return undoing | living if marking.phase is RunPhase.COMPENSATING else undoing
    ahead = [number for number, _ in marking.tokens if number >= 0] + [number for number, _ in marking.joins]
    if (START_NODE, ()) in marking.tokens:
        ahead += ir.entries
    for (number, _), record in marking.maps.items():
        if record.next < record.count or record.is_open:  # items that have not begun
            ahead += (ir.edges[edge].target for edge in ir.nodes[number].outs)
    return downstream(ir, ahead)


def impacted(ir: Ir, marking: Marking) -> list[str]:
    """Return the steps that may be executed from there on, in the order of the document."""
    found = executed(ir, marking)
    return [node.id for number, node in enumerate(ir.nodes) if number in found and not node.is_gate]


def reused(events: Iterable[Event], impacted: Collection[str]) -> list[str]:
    """Return the steps whose results are taken over and that are not executed again."""
    kept = [facts.node for facts, _ in events if facts.data.get("status") == "SUCCEEDED"]
    return [name for name in dict.fromkeys(kept) if name not in impacted]


def needed(plan: Plan, marking: Marking) -> set[int]:
    """Return the nodes whose outputs are still to be read: by what may be executed, or by the run's own output."""
    ir = plan.ir
    found = {read.node for read in ir.output_reads if read.kind is ReadKind.OUTPUT}
    for number in executed(ir, marking):
        node = ir.nodes[number]
        found.update(read.node for read in node.reads if read.kind in (ReadKind.OUTPUT, ReadKind.ITEM))
        if node.is_aggregate:
            found.update(source.number for source in plan.maps.sources(node))
        if node.loop_region >= 0:
            found.add(ir.regions[node.loop_region].node)
    return found
