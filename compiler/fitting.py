"""Fitting: the IR of another version, with the numbers that nodes, edges, slots and regions have in an older one. Pure.

Everything that a run has kept names them by these numbers: tokens, joins, values, signals, marks, and what others were
given to hold. So a run that moves to another version moves to this form of it, and nothing that was kept is renamed.
What is new has numbers behind all that were. What is gone leaves its number empty: a node of type ``removed``, an edge
and a region that nobody refers to.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import msgspec

from .ir import FIXED, LOOP_ENDS, Edge, Ir, Node, Read, Region, RegionKind

REMOVED = "removed"
"""The type of a node that stands for one that is gone."""
EdgeKey = tuple[str, str, str]
RegionKey = tuple[int, str]
_ABSENT = -1
K = TypeVar("K", bound=Hashable)


def fit(old: Ir, new: Ir) -> Ir:
    """Return ``new`` with the numbers of ``old``. The same IR fits itself; fitting again changes nothing."""
    return _Fitting(old, new).made()


def is_removed(node: Node) -> bool:
    return node.type == REMOVED


def edge_keys(ir: Ir) -> list[EdgeKey]:
    """Return what tells an edge in every version: (source, target, kind), one at most each."""
    return [(ir.nodes[edge.source].id, ir.nodes[edge.target].id, edge.kind.value) for edge in ir.edges]


def region_keys(ir: Ir) -> list[RegionKey]:
    """Return what tells a region in every version. One that is gone is never met again."""
    return [
        (int(region.kind), ir.nodes[region.node].id) if region.depth != _ABSENT else (_ABSENT, str(number))
        for number, region in enumerate(ir.regions)
    ]


class _Fitting:
    """``nodes``, ``edges``, ``regions``: by a number in ``new`` the one in what is made."""

    def __init__(self, old: Ir, new: Ir) -> None:
        self._old = old
        self._new = new
        self.nodes = _numbers([node.id for node in old.nodes], [node.id for node in new.nodes])
        self.edges = _numbers(edge_keys(old), edge_keys(new))
        self.regions = _numbers(region_keys(old), region_keys(new))
        self._slots: dict[int, int] = {}
        self._ins = [self._in_order(node) for node in new.nodes]

    def _in_order(self, node: Node) -> tuple[int, ...]:
        """The in-edges, each at the slot that it had, where there are as many; gaps are filled in order."""
        places: list[int] = [_ABSENT] * len(node.ins)
        rest: list[int] = []
        for edge in node.ins:
            known = self.edges[edge]
            slot = self._old.edges[known].slot if known < len(self._old.edges) else _ABSENT
            if 0 <= slot < len(places) and places[slot] == _ABSENT:
                places[slot] = edge
            else:
                rest.append(edge)
        left = iter(rest)
        ordered = [edge if edge != _ABSENT else next(left) for edge in places]
        self._slots |= {edge: slot for slot, edge in enumerate(ordered)}
        return tuple(self.edges[edge] for edge in ordered)

    def made(self) -> Ir:
        old, new = self._old, self._new
        return msgspec.structs.replace(
            new,
            output_reads=tuple(map(self._read, new.output_reads)),
            entries=tuple(self.nodes[number] for number in new.entries),
            nodes=_placed(
                self.nodes,
                [self._node(number) for number in range(len(new.nodes))],
                [_gone(node) for node in old.nodes],
            ),
            edges=_placed(
                self.edges,
                [self._edge(number) for number in range(len(new.edges))],
                [msgspec.structs.replace(edge, when=None, dead_from=0, dead_to=0) for edge in old.edges],
            ),
            regions=_placed(self.regions, list(map(self._region, new.regions)), list(map(_emptied, old.regions))),
            frontier=tuple(map(self._entry, new.frontier)),
        )

    def _node(self, number: int) -> Node:
        node = self._new.nodes[number]
        return msgspec.structs.replace(
            node,
            levels=tuple(self.regions[level] for level in node.levels),
            ins=self._ins[number],
            outs=tuple(self.edges[edge] for edge in node.outs),
            loop_region=self._region_number(node.loop_region),
            reads=tuple(map(self._read, node.reads)),
            compensate=self._node_number(node.compensate),
            compensates=self._node_number(node.compensates),
            waits_while=self._node_number(node.waits_while),
            cancels=tuple(self.nodes[other] for other in node.cancels),
            milestones=tuple(self.edges[edge] for edge in node.milestones),
            map_region=self._region_number(node.map_region),
        )

    def _edge(self, number: int) -> Edge:
        edge = self._new.edges[number]
        return msgspec.structs.replace(
            edge,
            source=self.nodes[edge.source],
            target=self.nodes[edge.target],
            slot=self._slots.get(number, edge.slot),
            origin=self.nodes[edge.origin],
        )

    def _region(self, region: Region) -> Region:
        return msgspec.structs.replace(
            region,
            node=self.nodes[region.node],
            entry=self.nodes[region.entry],
            gates=tuple(self.nodes[gate] for gate in region.gates),
            aggregate=self._node_number(region.aggregate),
            cursor=self._node_number(region.cursor),
            collector=self._node_number(region.collector),
            sweeper=self._node_number(region.sweeper),
        )

    def _read(self, read: Read) -> Read:
        """An index that is that of an in-edge goes with it."""
        if read.node < 0:
            return read
        levels = self._new.nodes[read.node].levels
        scope = tuple(
            FIXED - self._slot(level, FIXED - source) if source <= FIXED else source
            for level, source in zip(levels, read.scope, strict=True)
        )
        return msgspec.structs.replace(read, node=self.nodes[read.node], scope=scope)

    def _slot(self, region: int, slot: int) -> int:
        return self._slots[self._new.nodes[self._new.regions[region].node].ins[slot]]

    def _entry(self, entry: int) -> int:
        if entry >= 0:
            return self.edges[entry]
        if entry > LOOP_ENDS:
            return -1 - self.nodes[-1 - entry]
        return LOOP_ENDS - self.regions[LOOP_ENDS - entry]

    def _node_number(self, number: int) -> int:
        return number if number < 0 else self.nodes[number]

    def _region_number(self, number: int) -> int:
        return number if number < 0 else self.regions[number]


def _numbers(old: Sequence[K], new: Sequence[K]) -> list[int]:
    """Return by a number in ``new`` the one in ``old``, or one behind all of them."""
    known = {key: number for number, key in enumerate(old)}
    following = len(old)
    found: list[int] = []
    for key in new:
        if key in known:
            found.append(known[key])
        else:
            found.append(following)
            following += 1
    return found


T = TypeVar("T")


def _placed(numbers: Sequence[int], made: Sequence[T], before: Sequence[T]) -> tuple[T, ...]:
    """``made`` at ``numbers``, and what was there before where nothing is made."""
    found: Mapping[int, T] = dict(enumerate(before)) | dict(zip(numbers, made, strict=True))
    return tuple(found[number] for number in range(len(found)))


def _gone(node: Node) -> Node:
    return Node(
        id=node.id, type=REMOVED, config={}, config_hash="", stream="system:normal", levels=(), ins=(), outs=(),
        is_gate=True,
    )  # fmt: skip


def _emptied(region: Region) -> Region:
    return Region(RegionKind.LOOP, region.node, region.node, _ABSENT)
