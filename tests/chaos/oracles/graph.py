"""The graph of a run, as far as tokens need it: read from the stored IR, whose structs are JSON arrays.

Places in the arrays: compiler/ir.py. Fields are only ever added at their end.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Scope = tuple[int, ...]
LOOP, MAP, EACH = 0, 1, 2
LETTERS = {"l": "live", "d": "dead", "f": "failed", "-": "dead"}
"""What becomes of an edge, as the log has it."""


@dataclass(frozen=True)
class Node:
    """``join``: all, every, any, at_least; empty where it has no record of arrivals. ``region``: that it decides.

    ``outs``: edges that are decided when it settles; ``milestones``: those that are live once it waits.
    ``compensation``: the node that undoes it, or -1. ``asks``: for an approval. ``map_region``: of a map, its aggregate
    and the nodes of its own tokens, or -1.
    """

    number: int
    id: str
    levels: tuple[int, ...]
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    join: str
    need: int
    is_gate: bool
    is_each: bool
    region: int
    compensation: int
    milestones: tuple[int, ...]
    asks: bool
    is_map: bool
    is_aggregate: bool
    map_region: int


@dataclass(frozen=True)
class Edge:
    """``span``: in how many places it is felt when it dies."""

    source: int
    target: int
    kind: str
    slot: int
    span: int


@dataclass(frozen=True)
class Region:
    """``entry``: where it begins. ``gates``: on the edges that leave it. ``keeps_last``: somebody outside of a loop
    reads of its last iteration. Of a map: ``aggregate``, and the nodes of its own tokens; ``window``: items at work at
    a time; ``chunk``: results that are collected together; ``is_fast``: the first failed item closes it.
    """

    kind: int
    node: int
    entry: int
    gates: tuple[int, ...]
    aggregate: int
    keeps_last: bool
    cursor: int
    collector: int
    sweeper: int
    window: int
    chunk: int
    is_fast: bool


@dataclass(frozen=True)
class Graph:
    """``is_strict``: the first failure that nobody handles drains the run."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    regions: tuple[Region, ...]
    entries: tuple[int, ...]
    is_strict: bool
    numbers: dict[str, int]

    def carry(self, source: int, scope: Scope, target: int, slot: int, item: int = 0) -> Scope:
        """The scope that a token from ``source`` has at ``target``: common levels are kept, others are entered.

        item: of a map's body, which is entered with it.
        """
        kept = dict(zip(self.nodes[source].levels, scope, strict=True)) if source >= 0 else {}
        index = {LOOP: 1, MAP: item, EACH: slot}
        entered = {level: index[self.regions[level].kind] for level in self.nodes[target].levels}
        return tuple(kept.get(level, entered[level]) for level in self.nodes[target].levels)

    def maps_over(self, number: int, scope: Scope) -> list[tuple[int, Scope]]:
        """The maps around a place, outermost first."""
        regions = [self.regions[level] for level in self.nodes[number].levels[: len(scope)]] if number >= 0 else []
        return [(region.node, scope[:depth]) for depth, region in enumerate(regions) if region.kind == MAP]

    def people(self, node: str, scope: str) -> str:
        """A scope as handlers are told of it: ``again#2``."""
        if node not in self.numbers or not scope:
            return ""
        words: list[str] = []
        for level, index in zip(self.nodes[self.numbers[node]].levels, scope.split("."), strict=True):
            region = self.regions[level]
            form = {LOOP: "{}#{}", MAP: "{}[{}]", EACH: "{}@{}"}[region.kind]
            words.append(form.format(self.nodes[region.node].id, index))
        return "/".join(words)


def read_graph(content: bytes) -> Graph:
    """Read an IR."""
    ir: dict[str, Any] = json.loads(content)
    nodes = tuple(
        Node(
            number=number,
            id=raw[0],
            levels=tuple(raw[5]),
            ins=tuple(raw[6]),
            outs=tuple(raw[7]),
            join=raw[8] or "",
            need=raw[9],
            is_gate=raw[10],
            is_each=raw[11],
            region=raw[18],
            compensation=raw[34],
            milestones=tuple(raw[38]),
            asks=raw[31] is not None,
            is_map=raw[1] == "map",
            is_aggregate=raw[1] == "aggregate",
            map_region=raw[39],
        )
        for number, raw in enumerate(ir["nodes"])
    )
    return Graph(
        nodes=nodes,
        edges=tuple(Edge(raw[0], raw[1], raw[2], raw[3], raw[8] - raw[7]) for raw in ir["edges"]),
        regions=tuple(_region(raw) for raw in ir["regions"]),
        entries=tuple(ir["entries"]),
        is_strict=ir["on_failure"] == "fail_fast",
        numbers={node.id: node.number for node in nodes},
    )


def _region(raw: list[Any]) -> Region:
    kind, node, entry, _, gates, aggregate, keeps_last, cursor, collector, sweeper, window, _, chunk, is_fast, *_ = raw
    return Region(
        kind, node, entry, tuple(gates), aggregate, keeps_last, cursor, collector, sweeper, window, chunk, is_fast
    )
