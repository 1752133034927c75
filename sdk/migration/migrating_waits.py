"""What a token waits for, and what a region is made of, held against another version. Pure; see ``migrating``."""

from __future__ import annotations

from ...compiler.ir import Ir, Node, Region, RegionKind, signals_of
from ..events import Facts
from ..marking.marking import Marking, Place, Token, TokenKind
from ..marking.scopes import Scope
from ..marking.slot_words import SLOT

At = tuple[int, Scope]


def doing(token: Token, parked: Facts | None) -> str:
    """Say what a token does, after the name of its step."""
    if token.kind is not TokenKind.NORMAL:
        return "is about to be skipped" if token.kind is TokenKind.SKIP else "is under way"
    if token.place is Place.SIGNAL and parked is not None:
        return f"waits ({parked.reason})"
    words = {Place.TIMER: "waits for a time", Place.MUTEX: "waits for a mutex", Place.SLOT: "waits for a slot"}
    words |= {Place.BUDGET: "waits for its part of the budget"}
    return words.get(token.place, "is ready to run" if token.attempt == 1 else "is ready to run again")


def changed(marking: Marking, at: At, token: Token, parked: Facts | None, old: Node, new: Node) -> str:
    """Return what of a token's waiting the new version changes, after the name of its step, or nothing."""
    if token.kind is not TokenKind.NORMAL:
        return ""
    if token.place is Place.SIGNAL and parked is not None:
        wrong = _signal(parked.reason, old, new)
        if wrong:
            return wrong
    holds = any(at == mutex.holder or at in mutex.waiters for mutex in marking.mutexes.values())
    if holds and old.mutex != new.mutex:
        return f"holds or waits for the mutex {old.mutex}, and has another one in the new version"
    shares = token.place is Place.SLOT or SLOT in token.extra
    if shares and old.concurrency != new.concurrency:
        return "holds or waits for a slot of its concurrency key, and has another one in the new version"
    is_marked = any(edge in old.milestones for edge, _ in marking.marks)
    if (is_marked or token.place is Place.SIGNAL) and set(old.milestones) != set(new.milestones):
        return "waits, and other steps run beside it in the new version"
    return ""


def _signal(reason: str, old: Node, new: Node) -> str:
    if reason == "approval" and new.approval is None:
        return "waits for a decision, and asks for none in the new version"
    if reason == "signal" and _names(old) != _names(new):
        return "waits for a signal, and for other ones in the new version"
    if reason == "more" and _door(old) != _door(new):
        return "waits for more items, and takes them by another signal, or none, in the new version"
    return ""


def _names(node: Node) -> object:
    return None if node.signal is None else (node.signal.names, node.signal.is_choice)


def _door(node: Node) -> object:
    return signals_of(node) if node.is_map else None


def region_change(old: Ir, new: Ir, region: int, nodes: set[int]) -> str:
    """Return what of a region that is under way the new version changes, or nothing. nodes: those inside before."""
    theirs = {number for number, node in enumerate(new.nodes) if region in node.levels}
    ours = {number for number in nodes if region in old.nodes[number].levels}
    if ours != theirs:
        names = ", ".join(sorted((new if n in theirs else old).nodes[n].id for n in ours ^ theirs))
        return f"other steps are in it: {names}"
    exits = {old.regions[region].node} if old.regions[region].kind is RegionKind.LOOP else set[int]()
    for number in sorted(ours):
        before, after = old.nodes[number], new.nodes[number]
        if _shape(before) != _shape(after):
            return f"{before.id} is something else"
        outs = (_outs(old, before, nodes, exits), _outs(new, after, nodes, exits))
        if outs[0] != outs[1] or before.ins != after.ins:
            return f"other ways lead to {before.id} or on from it"
        if (after.keeps_input, after.keeps_status) > (before.keeps_input, before.keeps_status):
            return f"more is read of {before.id} than the run has kept"
    for number in {level for n in ours for level in old.nodes[n].levels}:
        if _frame(old.regions[number]) != _frame(new.regions[number]):
            return f"{old.nodes[old.regions[number].node].id} is another loop or map"
    return _map_change(old, new, region)


def _shape(node: Node) -> tuple[object, ...]:
    kind = node.type if node.is_map or node.is_aggregate or node.is_gate else ""
    return node.levels, kind, node.join, node.join_need, node.is_each, node.loop_region, node.map_region, node.is_gate


def _outs(ir: Ir, node: Node, nodes: set[int], exits: set[int]) -> set[int]:
    """Its edges; the way out of a loop by its own node is still open."""
    outs = {*node.outs, *node.milestones}
    if exits and ir.nodes[next(iter(exits))].id == node.id:
        outs = {edge for edge in outs if ir.edges[edge].target in nodes}
    return outs


def _frame(region: Region) -> tuple[object, ...]:
    own = (
        region.aggregate,
        region.cursor,
        region.collector,
        region.sweeper,
        region.batch,
        region.chunk,
        region.is_fast,
    )
    return region.kind, region.node, region.entry, region.depth, frozenset(region.gates), region.keeps_last, own


def _map_change(old: Ir, new: Ir, region: int) -> str:
    """Of a map: what lies around its body, which the items lead from and to."""
    ours = old.regions[region]
    if ours.kind is not RegionKind.MAP:
        return ""
    for number in (ours.node, ours.aggregate):
        before, after = old.nodes[number], new.nodes[number]
        ways = (before.outs, after.outs) if number == ours.node else (before.ins, after.ins)
        if set(ways[0]) != set(ways[1]) or _shape(before) != _shape(after):
            return f"other ways lead to {before.id} or on from it"
        if number == ours.aggregate and ways[0] != ways[1]:
            return f"other ways lead to {before.id}"
    return ""
