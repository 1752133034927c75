"""Ancestors: which nodes lead to which, for the pairs that somebody asks for."""

from __future__ import annotations

from collections.abc import Iterable

from .graph import Graph


class Ancestors:
    """Which of the asked pairs (ancestor, node) are connected: one bit set per node, in one pass over the order.

    A set lives only until all targets of its node have been passed.
    """

    def __init__(self, graph: Graph, pairs: Iterable[tuple[int, int]]) -> None:
        asked: dict[int, list[int]] = {}
        for ancestor, node in pairs:
            if ancestor != node:
                asked.setdefault(node, []).append(ancestor)
        self._leads = {(step, node) for node, steps in asked.items() for step in set(steps) & set(graph.sources(node))}
        far = {node: [s for s in steps if (s, node) not in self._leads] for node, steps in asked.items()}
        bits = {step: i for i, step in enumerate(sorted({s for steps in far.values() for s in steps}))}
        if bits:
            self._walk(graph, far, bits)

    def _walk(self, graph: Graph, far: dict[int, list[int]], bits: dict[int, int]) -> None:
        above: dict[int, int] = {}
        waiting = [len(outs) for outs in graph.outs]
        for node in graph.order:
            found = 0
            for source in graph.sources(node):
                found |= above[source]
                if source in bits:
                    found |= 1 << bits[source]
                waiting[source] -= 1
                if not waiting[source]:
                    del above[source]
            self._leads.update((step, node) for step in far.get(node, ()) if found >> bits[step] & 1)
            if waiting[node]:
                above[node] = found

    def leads(self, ancestor: int, node: int) -> bool:
        return (ancestor, node) in self._leads
