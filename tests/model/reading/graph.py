"""A document as a bare graph: what the naive reading of the token rules looks at, and nothing else.

Built straight from a native document, given as a plain mapping; imports nothing of the engine, so that a
mistake there cannot hide here. Does not check: an unknown id is a KeyError. Conditions are not parsed either;
whether one stands there is all that counts, its value comes from an oracle.

Edge order: ``depends_on`` of each node in turn, then of each node in turn its routing targets (rules, default),
then ``edges``, then ``on_error`` of each node in turn, then ``on_exhausted``. The first naming of a (source, target,
kind) sets the number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

Document = Mapping[str, object]


class Kind(StrEnum):
    NORMAL = "normal"
    ERROR = "error"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, kw_only=True)
class Edge:
    """``number``: position in the graph. ``guarded``: bears a ``when``."""

    number: int
    source: str
    target: str
    kind: Kind
    guarded: bool = False


@dataclass(frozen=True, kw_only=True)
class Join:
    """``policy``: all, every, at_least or each; ``any`` is ``at_least`` 1. ``n`` counts for at_least only."""

    policy: str
    n: int = 0


@dataclass(frozen=True, kw_only=True)
class Loop:
    """``limit``: iterations in all, the first one counted."""

    back_to: str
    limit: int


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Targets per rule; ``every_rule`` is mode ``all``."""

    rules: tuple[tuple[str, ...], ...]
    default: tuple[str, ...]
    every_rule: bool

    @property
    def named(self) -> frozenset[str]:
        """All targets that are taken only when chosen."""
        return frozenset(self.default).union(*self.rules)


@dataclass(frozen=True, kw_only=True)
class Node:
    """``guarded``: bears a ``when``."""

    id: str
    type: str
    join: Join
    loop: Loop | None
    rules: Rules | None
    guarded: bool


@dataclass(frozen=True, kw_only=True)
class Graph:
    """``ins`` and ``outs`` hold the edges of each node, in document order; back edges are in neither."""

    nodes: dict[str, Node]
    edges: tuple[Edge, ...]
    ins: dict[str, tuple[Edge, ...]]
    outs: dict[str, tuple[Edge, ...]]
    compensations: frozenset[str]
    drains: bool

    def is_entry(self, node: str) -> bool:
        return not self.ins[node] and node not in self.compensations

    def is_each(self, node: str) -> bool:
        """With one in-edge there is nothing to join, and ``each`` means nothing."""
        return self.nodes[node].join.policy == "each" and len(self.ins[node]) > 1


def from_document(document: Document) -> Graph:
    """The graph of a native document; a shape it does not know is a ``msgspec.ValidationError``."""
    raw = msgspec.convert(dict(document), _Document)
    for node in raw.nodes:
        if node.type == "conditional" and node.rules is None:
            routing = msgspec.convert(node.config, _Routing)
            node.rules, node.default, node.mode = routing.rules, routing.default, routing.mode
    nodes = {node.id: _node(node) for node in raw.nodes}
    edges = _edges(raw)
    return Graph(
        nodes=nodes,
        edges=edges,
        ins={id_: tuple(edge for edge in edges if edge.target == id_) for id_ in nodes},
        outs={id_: tuple(edge for edge in edges if edge.source == id_) for id_ in nodes},
        compensations=frozenset(node.compensate for node in raw.nodes if node.compensate is not None),
        drains=raw.policy.on_failure == "fail_fast",
    )


class _Rule(msgspec.Struct):
    when: str
    next: str | list[str]


class _Routing(msgspec.Struct):
    rules: list[_Rule] | None = None
    default: str | list[str] = []
    mode: str = "first"


class _Loop(msgspec.Struct):
    condition: str = msgspec.field(name="while")
    back_to: str
    max_iterations: int = 1000
    on_exhausted: str | list[str] = []


class _Node(msgspec.Struct):
    id: str
    type: str
    depends_on: str | list[str] = []
    join: str | dict[str, int] = "all"
    loop: _Loop | None = None
    rules: list[_Rule] | None = None
    default: str | list[str] = []
    mode: str = "first"
    on_error: str | list[str] = []
    when: str | None = None
    compensate: str | None = None
    config: dict[str, object] = {}


class _Edge(msgspec.Struct):
    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    when: str | None = None


class _Policy(msgspec.Struct):
    on_failure: str = "fail_fast"


class _Document(msgspec.Struct):
    nodes: list[_Node]
    edges: list[_Edge] = []
    policy: _Policy = msgspec.field(default_factory=_Policy)


def _several(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _node(raw: _Node) -> Node:
    loop = None if raw.loop is None else Loop(back_to=raw.loop.back_to, limit=raw.loop.max_iterations)
    rules = None
    if raw.rules is not None:
        rules = Rules(
            rules=tuple(_several(rule.next) for rule in raw.rules),
            default=_several(raw.default),
            every_rule=raw.mode == "all",
        )
    return Node(id=raw.id, type=raw.type, join=_join(raw.join), loop=loop, rules=rules, guarded=raw.when is not None)


def _join(raw: str | dict[str, int]) -> Join:
    if isinstance(raw, dict):
        return Join(policy="at_least", n=raw["at_least"])
    return Join(policy="at_least", n=1) if raw == "any" else Join(policy=raw)


def _edges(raw: _Document) -> tuple[Edge, ...]:
    """Named twice is one edge, where it was named first; a ``when`` of any naming counts."""
    named = [
        *((source, node.id, Kind.NORMAL, False) for node in raw.nodes for source in _several(node.depends_on)),
        *((node.id, target, Kind.NORMAL, False) for node in raw.nodes for target in _routed(node)),
        *((edge.source, edge.target, Kind.NORMAL, edge.when is not None) for edge in raw.edges),
        *((node.id, target, Kind.ERROR, False) for node in raw.nodes for target in _several(node.on_error)),
        *((node.id, target, Kind.EXHAUSTED, False) for node in raw.nodes for target in _exhausted(node)),
    ]
    guarded: dict[tuple[str, str, Kind], bool] = {}
    for source, target, kind, when in named:
        guarded[source, target, kind] = guarded.get((source, target, kind), False) or when
    return tuple(
        Edge(number=number, source=source, target=target, kind=kind, guarded=when)
        for number, ((source, target, kind), when) in enumerate(guarded.items())
    )


def _routed(node: _Node) -> list[str]:
    """The targets that the rules of a node name."""
    normal = [target for rule in node.rules or [] for target in _several(rule.next)]
    return normal + list(_several(node.default) if node.rules else ())


def _exhausted(node: _Node) -> tuple[str, ...]:
    return _several(node.loop.on_exhausted) if node.loop is not None else ()
