"""Decisions in the walk: what a settled node does to its edges and gates (token-rules.md, sections 4 and 5).

A transition has about ``EFFECTS_MAX`` effects. Where a decision has more, the node's token stays alive as a cursor, and
says with its next event that it goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.oracles.graph import LETTERS, Node, Scope

if TYPE_CHECKING:
    from chaos.oracles.walk import Walk

Place = tuple[int, Scope]
EFFECTS_MAX = 500
"""Before an edge or a gate that a transition has no room for, it stops; the first one it always has room for."""
WALK_MAX = 64
"""Where a dead path is felt in more places than this, its first node has a skip token."""
WORDS = {"b": "back", "x": "exit", "-": "exit"}


@dataclass(frozen=True)
class Cursor:
    """A decision that is not carried out yet. ``statuses``: of the node's ways; ``position``: of the next one."""

    statuses: tuple[str, ...]
    word: str
    position: int


def read_cursor(text: str) -> Cursor:
    """Read a cursor as the log of a restarted run has it: ``500.lld-``. Raises ValueError, KeyError."""
    position, _, letters = text.partition(".")
    return Cursor(tuple(LETTERS[letter] for letter in letters[:-1]), WORDS[letters[-1]], int(position))


def decide(walk: Walk, place: Place, cursor: Cursor) -> None:
    """Carry a decision out, as far as one transition does. The token is consumed before."""
    node, scope = walk.graph.nodes[place[0]], place[1]
    ways, last = _ways(walk, node, cursor)
    gates = walk.graph.regions[last.region].gates if last.region >= 0 else ()
    made = 0 if cursor.position else _begin(walk, place, last, cursor.word)
    first = max(cursor.position, len(ways)) if cursor.word == "back" else cursor.position
    for position in range(first, len(ways) + len(gates)):
        if made >= EFFECTS_MAX and position not in (first, len(ways)):
            _wait(walk, place, Cursor(cursor.statuses, cursor.word, position))
            return
        if position < len(ways):
            number, status = ways[position]
            walk.bring(number, scope, status)
            made += _cost(walk, number, status)
        else:
            walk.tell(gates[position - len(ways)], scope, cursor.word)
            made += 1


def pass_on(walk: Walk, node: Node, scope: Scope, status: str) -> None:
    """A dead path goes through a node, in the transition of another one."""
    cursor = Cursor((status,) * len(node.outs), "exit", 0)
    ways, last = _ways(walk, node, cursor)
    for passed in {node.number: node, last.number: last}.values():
        walk.reach((passed.number, scope), "dead", is_far=True)
    for number, said in ways:
        walk.bring(number, scope, said)
    for gate in walk.graph.regions[last.region].gates if last.region >= 0 else ():
        walk.tell(gate, scope, "exit")


def _ways(walk: Walk, node: Node, cursor: Cursor) -> tuple[list[tuple[int, str]], Node]:
    """Edges with what becomes of them, and the node whose loop ends: those of a map without items are its aggregate's
    but for its own error edge.
    """
    ways = list(zip(node.outs, cursor.statuses, strict=True))
    if not node.is_map:
        return ways, node
    last = walk.graph.nodes[walk.graph.regions[node.map_region].aggregate]
    own = [way for way in ways if walk.graph.edges[way[0]].kind != "normal"]
    body = next(status for number, status in ways if walk.graph.edges[number].kind == "normal")
    return [*own, *((number, body) for number in last.outs)], last


def _begin(walk: Walk, place: Place, last: Node, word: str) -> int:
    """What comes before all edges: milestones, the way back. Returns how many effects that is."""
    node, made = walk.graph.nodes[place[0]], 0
    for passed in {node.number: node, last.number: last}.values():
        walk.reach((passed.number, place[1]), "dead")
        made += len(passed.milestones)
    if last.region < 0:
        return made
    region = walk.graph.regions[last.region]
    if word == "back":
        indexes = dict(zip(node.levels, place[1], strict=True))
        indexes[node.region] += 1
        entry = walk.graph.nodes[region.entry]
        walk.emit((region.entry, tuple(indexes.get(level, 1) for level in entry.levels)))
    return made + (word == "back" or region.keeps_last)


def _cost(walk: Walk, number: int, status: str) -> int:
    edge = walk.graph.edges[number]
    target = walk.graph.nodes[edge.target]
    if status == "live" or target.join or target.is_gate or target.is_aggregate:
        return 1
    return 0 if target.is_each else 1 if edge.span > WALK_MAX else edge.span


def _wait(walk: Walk, place: Place, cursor: Cursor) -> None:
    """The token stays; of a run that drains it goes, and nothing else of it comes."""
    if not walk.is_draining:
        walk.consumed[place] -= 1
        walk.living[place], walk.cursors[place] = "cursor", cursor
