"""Impact: which steps are executed when something begins anew, and which are not again. Pure.

Whatever can be reached from a step depends on it. A loop goes round as a whole: what is impacted in its body impacts
all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeAlias

from ...compiler.ir import Ir, ReadKind
from ..events import Facts
from ..marking.marking import GOES_ON, Marking, RunPhase, TokenKind
from ..marking.plan import Plan
from ..marking.scopes import START_NODE, scope_text

Event: TypeAlias = "tuple[Facts, bytes | None]"
PLACES_MAX = 1_000
OF_STEPS = (ReadKind.OUTPUT, ReadKind.STEP_INPUT, ReadKind.ITEM)
"""What is read of other steps and can be emptied."""


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
        if not record.is_closed:  # also where nothing lives but what collects results
            ahead.append(ir.regions[ir.nodes[number].map_region].aggregate)
        if record.next < record.count or record.is_open:  # items that have not begun
            ahead += (ir.edges[edge].target for edge in ir.nodes[number].outs)
    return downstream(ir, ahead)


def impacted(ir: Ir, marking: Marking) -> list[str]:
    """Return the steps that may be executed from there on, in the order of the document."""
    found = executed(ir, marking)
    return [node.id for number, node in enumerate(ir.nodes) if number in found and not node.is_gate]


def beginnings(ir: Ir, marking: Marking) -> dict[str, tuple[str, ...]]:
    """Return where steps in loops and maps are executed first: their scopes as people read them, of each the first
    thousand.
    """
    found: dict[str, list[str]] = {}
    for (number, scope), token in sorted(marking.tokens.items()):
        if scope and number >= 0 and token.kind is TokenKind.NORMAL and not ir.nodes[number].is_gate:
            places = found.setdefault(ir.nodes[number].id, [])
            if len(places) < PLACES_MAX:
                places.append(scope_text(ir, number, scope))
    return {name: tuple(places) for name, places in found.items()}


def reused(events: Iterable[Event], impacted: Collection[str]) -> list[str]:
    """Return the steps whose results are taken over and that are not executed again."""
    kept = [facts.node for facts, _ in events if facts.data.get("status") == "SUCCEEDED"]
    return [name for name in dict.fromkeys(kept) if name not in impacted]


def needed(plan: Plan, marking: Marking) -> set[int]:
    """Return the nodes of which outputs or inputs are still to be read: by what may be executed, or by the run's own
    output.
    """
    return read_again(plan, marking) | {read.node for read in plan.ir.output_reads if read.kind in OF_STEPS}


def read_again(plan: Plan, marking: Marking) -> set[int]:
    """Return the nodes of which outputs or inputs are read by what may be executed."""
    ir, found = plan.ir, set[int]()
    for number in executed(ir, marking):
        node = ir.nodes[number]
        found.update(read.node for read in node.reads if read.kind in OF_STEPS)
        if node.is_aggregate:
            found.update(source.number for source in plan.maps.sources(node))
        if node.loop_region >= 0:
            found.add(ir.regions[node.loop_region].node)
    return found
