"""What handlers and conditions say: a pure function of node and scope, the same for the reading and an engine.

``Seeded`` draws it from a hash, so that order of asking and number of asking change nothing; its ``input`` and
``output`` are the JSON a real engine is fed with, under the conditions that ``draw`` writes into documents:
``input.when.<node>``, ``output.r[i]``, ``output.again``, ``output.e.<target>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

from .graph import Graph


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One execution of a node in one scope, retries over.

    rules: the truth of each rule; missing ones are false. again: the loop condition.
    edges: the ``when`` of each guarded edge by its target; missing ones are true.
    """

    ok: bool = True
    rules: tuple[bool, ...] = ()
    again: bool = False
    edges: Mapping[str, bool] = field(default_factory=dict[str, bool])


class Oracle(Protocol):
    """``when``: the condition of the node itself, the same in every scope. ``scope`` is scope text."""

    def when(self, node: str) -> bool: ...

    def outcome(self, node: str, scope: str) -> Outcome: ...


@dataclass(frozen=True, kw_only=True)
class Told:
    """An oracle written by hand: ``outcomes`` by ``node`` or, first, by ``node scope``; else all goes well."""

    outcomes: Mapping[str, Outcome] = field(default_factory=dict[str, Outcome])
    false: frozenset[str] = frozenset()

    def when(self, node: str) -> bool:
        return node not in self.false

    def outcome(self, node: str, scope: str) -> Outcome:
        return self.outcomes.get(f"{node} {scope}") or self.outcomes.get(node) or Outcome()


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """An oracle drawn from a seed; the shares are probabilities."""

    graph: Graph
    seed: int
    failing: float = 0.1
    again: float = 0.5
    rule: float = 0.5
    edge: float = 0.7
    guard: float = 0.8

    @staticmethod
    def varied(graph: Graph, seed: int) -> Seeded:
        """Shares that go with the seed as well: runs without failures, with few, with many; short and long loops."""
        return Seeded(
            graph=graph,
            seed=seed,
            failing=(0.0, 0.04, 0.15)[seed % 3],
            again=(0.4, 0.8)[seed // 3 % 2],
            rule=(0.4, 0.7)[seed // 6 % 2],
            edge=(0.7, 0.95)[seed // 12 % 2],
            guard=(0.8, 0.95)[seed // 24 % 2],
        )

    def when(self, node: str) -> bool:
        return self._draw(node, "", "when") < self.guard

    def outcome(self, node: str, scope: str) -> Outcome:
        rules = self.graph.nodes[node].rules
        return Outcome(
            ok=self._draw(node, scope, "ok") >= self.failing,
            rules=tuple(
                self._draw(node, scope, f"rule {index}") < self.rule
                for index in range(len(rules.rules) if rules is not None else 0)
            ),
            again=self._draw(node, scope, "again") < self.again,
            edges={
                edge.target: self._draw(node, scope, f"edge {edge.target}") < self.edge
                for edge in self.graph.outs[node]
                if edge.guarded
            },
        )

    def input(self) -> dict[str, object]:
        """The input of the run."""
        return {"when": {node: self.when(node) for node in self.graph.nodes}}

    def output(self, node: str, scope: str) -> dict[str, object]:
        """What the handler returns; it raises a fatal error instead if ``outcome`` is not ``ok``."""
        outcome = self.outcome(node, scope)
        return {"ok": outcome.ok, "r": list(outcome.rules), "again": outcome.again, "e": dict(outcome.edges)}

    def _draw(self, node: str, scope: str, question: str) -> float:
        key = f"{self.seed}|{node}|{scope}|{question}".encode()
        return int.from_bytes(blake2b(key, digest_size=6).digest()) / 2**48
