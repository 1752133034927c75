"""Moves: a run goes on with another version of its workflow, and what it has comes to mean the same there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.oracles.broken import Broken

if TYPE_CHECKING:
    from chaos.oracles.graph import Node
    from chaos.oracles.log import Event
    from chaos.oracles.walk import Walk


def move(walk: Walk, event: Event) -> None:
    """Go on with the other graph. Raises Broken where a token or a join has no place in it."""
    told = event.facts.get("data", {})
    before, after = walk.graph, walk.graphs.get(str(told.get("ir")))
    if told.get("from") != walk.ir or after is None:
        raise Broken("O6", f"it moves from {told.get('from')}, having {walk.ir}, to {told.get('ir')}")
    if walk.is_draining:
        raise Broken("O3", "a run that ends moves no more")
    if [node.id for node in after.nodes[: len(before.nodes)]] != [node.id for node in before.nodes]:
        raise Broken("O2", "nodes have other numbers behind the move")
    for number, scope in walk.living:
        if number >= 0 and (before.nodes[number].is_gate, len(scope)) != _kind(after.nodes[number]):
            raise Broken("O2", f"a token lives at {before.nodes[number].id}, which has no place for it")
    for number, _ in walk.joins:
        one, other = before.nodes[number], after.nodes[number]
        if (one.join, one.need) != (other.join, other.need):
            raise Broken("O2", f"the half-filled join {one.id} is another one behind the move")
    walk.graph, walk.ir = after, str(told["ir"])


def _kind(node: Node) -> tuple[bool, int]:
    return node.is_gate, len(node.levels)
