"""Refitting: what a run's log says of its steps, said of the steps of another version of its workflow. Pure.

Steps are the same where their ids are, and the loops and maps around them. Of others the log says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias, TypeVar

from ...compiler.ir import Ir, Node
from ..fold.cuts import Settled
from ..marking.rules import is_decision, taken
from ..marking.scopes import Scope
from ..outcomes.node_code import Codes, NodeCode
from .oracle import Answer, Oracle

At: TypeAlias = tuple[int, Scope]
T = TypeVar("T")


class Refitting:
    """``numbers``: from the nodes of one version to those of another; ``olds``: back."""

    def __init__(self, before: Codes, after: Codes) -> None:
        self._before = before
        self._after = after
        old, new = before.plan.ir, after.plan.ir
        numbers = {node.id: number for number, node in enumerate(new.nodes)}
        self.numbers = {
            number: numbers[node.id]
            for number, node in enumerate(old.nodes)
            if node.id in numbers and _around(old, node) == _around(new, new.nodes[numbers[node.id]])
        }
        self.olds = {new: old for old, new in self.numbers.items()}

    def oracle(self, oracle: Oracle) -> Oracle:
        """Results of chunks of maps are left out: what was collected by one version is collected again by another."""
        return replace(
            oracle,
            answers={self._at(at): self._answer(at, answer) for at, answer in self._known(oracle.answers)},
            inputs=self._moved(oracle.inputs),
            gates=self._moved(oracle.gates),
            parked=self._moved(oracle.parked),
            results={},
            forced=frozenset(self._places(oracle.forced)),
            emptied=frozenset(self._places(oracle.emptied)),
            undone=tuple(self._places(oracle.undone)),
            done_by=self._moved(oracle.done_by),
        )

    def leads_elsewhere(self, number: int, then: str, now: str) -> bool:
        """Whether two decisions of a node of the other version differ in more than edges that it had not before."""
        ours = self.olds.get(number)
        if ours is None or not then or not now:
            return True
        old, new = self._before.plan.ir, self._after.plan.ir
        had = set(_edges(old, old.nodes[ours], self._before.of(ours)))
        names = _edges(new, new.nodes[number], self._after.of(number))
        known = [*(name in had for name in names), True]
        return any(one != two for is_known, one, two in zip(known, then, now, strict=False) if is_known)

    def _known(self, values: Mapping[At, T]) -> list[tuple[At, T]]:
        return [(at, value) for at, value in values.items() if at[0] in self.numbers]

    def _moved(self, values: Mapping[At, T]) -> dict[At, T]:
        return {self._at(at): value for at, value in self._known(values)}

    def _places(self, places: Iterable[At]) -> list[At]:
        return [self._at(at) for at in places if at[0] in self.numbers]

    def _at(self, at: At) -> At:
        return self.numbers[at[0]], at[1]

    def _answer(self, at: At, answer: Answer) -> Answer:
        return answer._replace(settled=self._settled(at, answer.settled))

    def _settled(self, at: At, settled: Settled) -> Settled:
        """Its decision, by the edges that the other version has; those that it had not before are not in it."""
        if not settled.edges:
            return settled
        old, new = self._before.plan.ir, self._after.plan.ir
        node = new.nodes[self.numbers[at[0]]]
        said = dict(zip(_edges(old, old.nodes[at[0]], self._before.of(at[0])), settled.edges, strict=False))
        plain = taken(node, new.edges)
        if settled.edges.endswith("b"):
            decision = "-" * len(node.outs) + "b"
        else:
            names = _edges(new, node, self._after.of(self.numbers[at[0]]))
            decision = "".join(said.get(name, "d") for name in names) + plain[-1]
        return settled._replace(edges=decision if is_decision(node, decision) else "")


def _around(ir: Ir, node: Node) -> list[tuple[int, str]]:
    """The loops, maps and ``each`` joins around a node."""
    return [(int(ir.regions[level].kind), ir.nodes[ir.regions[level].node].id) for level in node.levels]


def _edges(ir: Ir, node: Node, code: NodeCode) -> list[tuple[str, str]]:
    """What the edges of a node are called, in the order of its decisions."""
    return [(str(ir.edges[edge].kind), name) for edge, name in zip(node.outs, code.targets, strict=True)]
