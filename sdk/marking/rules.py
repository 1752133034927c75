"""The token rules, once: what a settled node does to its edges (token-rules.md, sections 3 to 5, 7).

Pure functions over the IR. A *decision* is one letter per outgoing edge of a node (``l`` live, ``d`` dead, ``f``
failed) and a last one for its loop (``b`` goes back, ``x`` ends, ``-`` none). ``settle`` turns a decision into
effects, at most ``EFFECTS_MAX`` at a time; whoever gets a position back continues there with a cursor.
``Marking.apply`` and ``lua/includes/transitions.lua`` apply the same effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from ...compiler.ir import LOOP_ENDS, Edge, Ir, Node, RegionKind
from ...compiler.workflow import EdgeKind, OnFailure
from .scopes import Scope, follow, project

EFFECTS_MAX = 500
"""Most effects of one transition. One more edge's slice may come on top."""
WALK_MAX = 64
"""A dead path's frontier with more entries is not walked at once: a skip token takes one step."""

BACK = "b"
"""``Emit.live`` of a token that goes back is ``b<loop node>``: its input is that node's output."""


class Emit(NamedTuple):
    """A token comes into being. ``live``: which in-edges came (``*`` all, ``+1`` that one), ``b<loop node>``, or
    nothing (its only one).

    ``delay_ms``: it comes into being parked in the timers.
    """

    node: int
    scope: Scope
    live: str = ""
    delay_ms: int = 0


class Skip(NamedTuple):
    """A skip token for ``node``: it will never run in this scope. ``status``: ``d`` or ``f``."""

    node: int
    scope: Scope
    status: str


class Arrive(NamedTuple):
    """``edge`` reaches its join with ``status``; ``scope`` is the join's."""

    edge: int
    scope: Scope
    status: str


class Tell(NamedTuple):
    """A loop's decision reaches a gate: ``b`` or ``x``."""

    gate: int
    scope: Scope
    told: str


class Last(NamedTuple):
    """A loop ended: ``iteration`` was its last. ``scope``: of the levels around the loop."""

    region: int
    scope: Scope
    iteration: int


class Drain(NamedTuple):
    """The run ends early: no emission from now on, what is parked is swept."""

    reason: str


class Taint(NamedTuple):
    """The run goes on but will end FAILED."""


class Milestone(NamedTuple):
    """A milestone edge: ``l`` its source has parked, ``d`` it has settled, which is news only where it never parked."""

    edge: int
    scope: Scope
    status: str


class Withdraw(NamedTuple):
    """A living token of the node becomes a skip token; where none lives, nothing happens."""

    node: int
    scope: Scope


class Complete(NamedTuple):
    """It has done what its compensation will undo if the run does not end well."""

    node: int
    scope: Scope


class Items(NamedTuple):
    """A map has ``total`` items, all that were and new ones. ``is_open``: more may come."""

    node: int
    scope: Scope
    total: int
    is_open: bool


class Fill(NamedTuple):
    """The cursor of the map ``node`` emits more of its items."""

    node: int
    scope: Scope


class Collected(NamedTuple):
    """The results of the items of one chunk are one value, and what the items left behind is gone."""

    node: int
    scope: Scope
    chunk: int


class ItemError(NamedTuple):
    """An item of the map ``node`` fails by this; the first one counts. ``scope``: the map's and the item."""

    node: int
    scope: Scope
    error: bytes


class Forget(NamedTuple):
    """The aggregate of the map ``node`` has settled: its results are needed no more. ``live``: of its token."""

    node: int
    scope: Scope
    live: str


Effect: TypeAlias = (
    Emit
    | Skip
    | Arrive
    | Tell
    | Last
    | Drain
    | Taint
    | Milestone
    | Withdraw
    | Complete
    | Items
    | Fill
    | Collected
    | ItemError
    | Forget
)


def succeeded(ir: Ir, number: int, scope: Scope) -> list[Effect]:
    """What success brings about, before all that the decision does."""
    node = ir.nodes[number]
    effects: list[Effect] = [Complete(number, scope)] if node.compensate >= 0 else []
    effects += (Withdraw(other, scope) for other in node.cancels)
    return effects


def reaches_milestones(node: Node, reason: str) -> bool:
    """Whether parking for ``reason`` is what others run beside: a gate's question, else a wait or a signal."""
    if not node.milestones or reason in ("more", "rate"):
        return False
    return reason == ("approval" if node.approval is not None else reason) != "outside"


def parked(ir: Ir, number: int, scope: Scope) -> list[Effect]:
    """What the first parking of a node brings about that others run only beside."""
    return [Milestone(edge, scope, "l") for edge in ir.nodes[number].milestones]


def taken(node: Node, edges: tuple[Edge, ...], live: list[bool] | None = None) -> str:
    """Succeeded: normal edges are live (those that ``live`` says, in order of ``node.outs``), others dead."""
    letters = [
        "l" if edges[e].kind is EdgeKind.NORMAL and (live is None or live[i]) else "d" for i, e in enumerate(node.outs)
    ]
    return "".join(letters) + ("-" if node.loop_region < 0 else "x")


def is_decision(node: Node, decision: str) -> bool:
    """Whether a decision has a letter per outgoing edge of the node, and one for its loop."""
    ends = "-" if node.loop_region < 0 else "bx"
    letters = "-" if decision.endswith("b") else "ldf"
    return len(decision) == len(node.outs) + 1 and decision[-1] in ends and all(one in letters for one in decision[:-1])


def gone_back(node: Node) -> str:
    return "-" * len(node.outs) + "b"


def exhausted(node: Node, edges: tuple[Edge, ...]) -> str:
    """The loop reached its last iteration; only for a node that has an exhausted edge."""
    return "".join("l" if edges[e].kind is EdgeKind.EXHAUSTED else "d" for e in node.outs) + "x"


def died(node: Node, status: str) -> str:
    """It never ran (``when`` false, withdrawn, or a dead path reached it)."""
    return status * len(node.outs) + ("-" if node.loop_region < 0 else "x")


def failed(ir: Ir, node: Node) -> tuple[str, Effect | None]:
    """It failed for good. Returns the decision, and what it does to the run as a whole."""
    end = "-" if node.loop_region < 0 else "x"
    if node.has_error_edge:
        return "".join("l" if ir.edges[e].kind is EdgeKind.ERROR else "d" for e in node.outs) + end, None
    if map_over(ir, node) >= 0:
        return "f" * len(node.outs) + end, None
    if ir.on_failure is OnFailure.CONTINUE:
        return "f" * len(node.outs) + end, Taint()
    return "", Drain("failed")


def map_over(ir: Ir, node: Node) -> int:
    """Return the region of the innermost map around a node, or -1."""
    for region in reversed(node.levels):
        if ir.regions[region].kind is RegionKind.MAP:
            return region
    return -1


def failing_item(ir: Ir, number: int, scope: Scope) -> tuple[int, Scope] | None:
    """Return (map, its scope and the item) that a node is in which fails unhandled, None outside of maps."""
    node = ir.nodes[number]
    over = map_over(ir, node)
    if over < 0 or node.has_error_edge:
        return None
    return ir.regions[over].node, scope[: node.levels.index(over) + 1]


def opened(ir: Ir, number: int, scope: Scope, count: int, *, is_open: bool) -> list[Effect]:
    """Return what a map does when it first has items: ``count`` of them. is_open: it waits for more."""
    node = ir.nodes[number]
    effects: list[Effect] = [Milestone(edge, scope, "d") for edge in node.milestones]
    for out in node.outs:
        if ir.edges[out].kind is not EdgeKind.NORMAL:
            effects.extend(_dead(ir, number, out, ir.edges[out], scope, "d"))
    return [*effects, Items(number, scope, count, is_open)]


def item(ir: Ir, number: int, scope: Scope, index: int) -> list[Effect]:
    """Return what an item of a map begins with. scope: of the map."""
    edges = ir.edges
    return [_live(ir, e, edges[e], scope, index) for e in ir.nodes[number].outs if edges[e].kind is EdgeKind.NORMAL]


def _ways_past(ir: Ir, number: int, decision: str) -> tuple[int, list[int], str]:
    """A map that never opens: its own other edges, then those of its aggregate, whose loop ends.

    Returns (the node whose loop that is, edges, decision).
    """
    node = ir.nodes[number]
    region = ir.regions[node.map_region]
    aggregate = ir.nodes[region.aggregate]
    ways = [(e, ir.edges[e].kind, letter) for e, letter in zip(node.outs, decision, strict=False)]
    own = [(e, letter) for e, kind, letter in ways if kind is not EdgeKind.NORMAL]
    body = next(letter for _, kind, letter in ways if kind is EdgeKind.NORMAL)
    letters = "".join(letter for _, letter in own) + body * len(aggregate.outs)
    return region.aggregate, [*(e for e, _ in own), *aggregate.outs], letters + died(aggregate, "d")[-1]


def settle(ir: Ir, number: int, scope: Scope, decision: str, position: int = 0) -> tuple[list[Effect], int]:
    """Return the effects of a decision from ``position`` on, and the position where to continue (-1: done)."""
    node = ir.nodes[number]
    effects: list[Effect] = []
    outs: Sequence[int] = node.outs
    if not position:
        effects.extend(Milestone(edge, scope, "d") for edge in node.milestones)
    if node.is_map:
        number, outs, decision = _ways_past(ir, number, decision)
        node = ir.nodes[number]
        if not position:
            effects.extend(Milestone(edge, scope, "d") for edge in node.milestones)
    if not position:
        effects.extend(_loop_moves(ir, node, scope, decision[-1]))
    for i in range(position, len(outs) if decision[-1] != "b" else 0):
        if len(effects) >= EFFECTS_MAX and i > position:
            return effects, i
        edge = ir.edges[outs[i]]
        if decision[i] == "l":
            effects.append(_live(ir, outs[i], edge, scope))
        else:
            effects.extend(_dead(ir, number, outs[i], edge, scope, decision[i]))
    if decision[-1] == "-":
        return effects, -1
    return _tell_gates(ir, node, scope, decision[-1], effects, max(0, position - len(outs)), len(outs))


def start(ir: Ir, position: int = 0) -> tuple[list[Effect], int]:
    """Return the entry tokens from ``position`` on (loops begin at iteration 1), and where to continue (-1: done)."""
    chunk = ir.entries[position : position + EFFECTS_MAX]
    following = position + len(chunk)
    tokens: list[Effect] = [Emit(node, (1,) * len(ir.nodes[node].levels)) for node in chunk]
    return tokens, following if following < len(ir.entries) else -1


def _live(ir: Ir, number: int, edge: Edge, scope: Scope, index: int = 0) -> Effect:
    """``index``: the item, where the edge enters the body of a map."""
    reached = follow(edge, scope, index)
    target = ir.nodes[edge.target]
    if target.is_aggregate:
        return Arrive(number, (*reached, _item_of(target, ir.nodes[edge.source].levels, scope, index)), "l")
    if target.join is not None:
        return Arrive(number, reached, "l")
    return Emit(edge.target, reached, f"+{edge.slot}" if target.is_each else "")


def _item_of(aggregate: Node, levels: tuple[int, ...], scope: Scope, index: int = 0) -> int:
    """The item in which a token reaches an aggregate: behind the scope, as each item has a record of its own."""
    return scope[levels.index(aggregate.map_region)] if aggregate.map_region in levels else index


def _dead(ir: Ir, source: int, number: int, edge: Edge, scope: Scope, status: str) -> list[Effect]:
    target = ir.nodes[edge.target]
    if target.is_aggregate:
        reached = (*follow(edge, scope), _item_of(target, ir.nodes[source].levels, scope))
        return [Arrive(number, reached, status)]
    if target.join is not None:
        return [Arrive(number, follow(edge, scope), status)]
    if target.is_each:
        return []
    if edge.dead_to - edge.dead_from > WALK_MAX:
        return [Skip(edge.target, follow(edge, scope), status)]
    return _walk(ir, ir.nodes[source].levels, scope, edge.dead_from, edge.dead_to, status)


def _walk(ir: Ir, levels: tuple[int, ...], scope: Scope, first: int, end: int, status: str) -> list[Effect]:
    effects: list[Effect] = []
    for entry in ir.frontier[first:end]:
        if entry >= 0:
            target = ir.nodes[ir.edges[entry].target]
            reached = project(levels, scope, target.levels)
            if target.is_aggregate:
                reached = (*reached, _item_of(target, levels, scope))
            effects.append(Arrive(entry, reached, status))
        elif entry > LOOP_ENDS:
            gate = -1 - entry
            effects.append(Tell(gate, project(levels, scope, ir.nodes[gate].levels), "x"))
        else:
            region = LOOP_ENDS - entry
            inside = project(levels, scope, ir.nodes[ir.regions[region].node].levels)
            effects.append(_last(ir, region, inside))
    return effects


def _last(ir: Ir, region: int, scope: Scope) -> Last:
    depth = ir.regions[region].depth
    return Last(region, scope[:depth], scope[depth])


def _loop_moves(ir: Ir, node: Node, scope: Scope, told: str) -> list[Effect]:
    """What comes before all else: the way back, or the last iteration, which whatever comes next may read."""
    if told == "b":
        return [_go_back(ir, node, scope)]
    if told == "x" and ir.regions[node.loop_region].keeps_last:
        return [_last(ir, node.loop_region, scope)]
    return []


def _tell_gates(
    ir: Ir, node: Node, scope: Scope, told: str, effects: list[Effect], first: int, ways: int
) -> tuple[list[Effect], int]:
    """Add what a loop's decision does, from gate ``first`` on. Positions go on after those of the ``ways`` out."""
    region = ir.regions[node.loop_region]
    for i in range(first, len(region.gates)):
        if len(effects) >= EFFECTS_MAX and i > first:
            return effects, ways + i
        gate = region.gates[i]
        effects.append(Tell(gate, scope[: len(ir.nodes[gate].levels)], told))
    return effects, -1


def _go_back(ir: Ir, node: Node, scope: Scope) -> Effect:
    region = ir.regions[node.loop_region]
    entry = ir.nodes[region.entry]
    around = (*scope[: region.depth], scope[region.depth] + 1, *scope[region.depth + 1 :])
    reached = project(node.levels, around, entry.levels)
    delay_ms = node.loop.delay_ms if node.loop is not None else 0
    return Emit(region.entry, reached, f"{BACK}{region.node}", delay_ms)
