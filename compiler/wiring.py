"""Wiring: every way of naming an edge, and every reference between nodes, resolved to edges that exist.

``depends_on``, the targets of rules and ``edges:`` name normal edges; one pair is one edge. ``on_error``,
``on_exhausted`` and ``while_waiting`` name edges of their own kinds. Order: ``depends_on`` of each node in turn, then
routing targets, ``edges:``, and error edges, exhausted edges and milestone edges, each of one node after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from .diagnostics import Path
from .findings import Findings, quote
from .node_fields import Declared, unnamed
from .reading import read_expression, read_fields, read_id
from .workflow import Edge, EdgeKind, Json, Loop, Node


class Wired(msgspec.Struct, frozen=True):
    """``nodes``: what they name exists. ``edges``: all, in their order. ``doubted``: as of ``native.Draft``."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    doubted: frozenset[int]


def wire(declared: Sequence[Declared], edges: Sequence[Json], findings: Findings) -> Wired:
    """Resolve what the nodes of a document name. ``edges``: the items of ``edges:``."""
    return _Wiring(declared, findings).read(edges)


class _Wiring:
    def __init__(self, declared: Sequence[Declared], findings: Findings) -> None:
        self._findings = findings
        self._known: dict[str, int] = {}
        self._normal: dict[tuple[str, str], str | None] = {}
        self._doubted: set[int] = set()
        self._declared = [self._named(each) for each in declared]

    def _named(self, declared: Declared) -> Declared:
        """Of two with one id the first one has it."""
        name, index = declared.node.id, declared.index
        first = self._known.setdefault(name, index)
        if first == index:
            return declared
        message = f"the node id {quote(name)} stands twice (nodes {first} and {index})"
        self._findings.error("duplicate_id", message, ("nodes", index, "id"), "rename one of them")
        self._doubted |= {first, index}
        return msgspec.structs.replace(declared, node=msgspec.structs.replace(declared.node, id=unnamed(index)))

    def read(self, edges: Sequence[Json]) -> Wired:
        for each in self._declared:
            path: Path = ("nodes", each.index, "depends_on")
            for source in self._existing(each.depends_on, path):
                self._normal[source, each.node.id] = None
        for each in self._declared:
            for target in self._routed(each):
                self._normal.setdefault((each.node.id, target), None)
        self._read_edges(edges)
        nodes = [self._with_references(each.node, ("nodes", each.index)) for each in self._declared]
        made = [Edge(source=source, target=target, when=when) for (source, target), when in self._normal.items()]
        made.extend(_special(nodes))
        return Wired(tuple(nodes), tuple(made), frozenset(self._doubted))

    def _routed(self, declared: Declared) -> list[str]:
        """The targets of the node's rules that exist, each once."""
        routing = declared.node.routing
        if routing is None:
            return []
        path: Path = ("nodes", declared.index)
        if declared.node.type == "conditional":
            path = (*path, "config")
        targets: dict[str, None] = {}
        for index, rule in enumerate(routing.rules):
            targets.update(dict.fromkeys(self._existing(rule.next, (*path, "rules", index, "next"))))
        targets.update(dict.fromkeys(self._existing(routing.default, (*path, "default"))))
        return list(targets)

    def _read_edges(self, edges: Sequence[Json]) -> None:
        known, normal = self._known, self._normal
        conditions: dict[tuple[str, str], str | None] = {}
        for index, value in enumerate(edges):
            fields = cast("dict[str, Any]", value)
            if type(value) is not dict or len(fields) != 2 or not ("from" in fields and "to" in fields):
                fields = read_fields(value, ("edges", index), self._findings, _EDGE_READERS, ("from", "to"))
            source, target, when = fields.get("from"), fields.get("to"), fields.get("when")
            if type(source) is not str or type(target) is not str or source not in known or target not in known:
                self._unknown_end(fields, index)
                continue
            pair = (source, target)
            if conditions.setdefault(pair, when) != when:
                message = f"the edge from {quote(source)} to {quote(target)} stands twice with different conditions"
                self._findings.error("duplicate_edge", message, ("edges", index), "join them: a || b")
                continue
            normal[pair] = when

    def _unknown_end(self, fields: dict[str, Any], index: int) -> None:
        for name in ("from", "to"):
            if name in fields:
                end = read_id(fields[name], ("edges", index, name), self._findings)
                if end is not None:
                    self._existing((end,), ("edges", index, name))

    def _with_references(self, node: Node, path: Path) -> Node:
        """The node with those of its references that exist; they make no normal edge."""
        kept: dict[str, Any] = {}
        for field in _REFERENCES:
            ids = getattr(node, field)
            if ids:
                found = self._existing((ids,) if isinstance(ids, str) else ids, (*path, field))
                kept[field] = tuple(found) if not isinstance(ids, str) else found[0] if found else None
        if node.loop is not None:
            kept["loop"] = self._loop(node.loop, (*path, "loop"))
        return msgspec.structs.replace(node, **kept) if kept else node

    def _loop(self, loop: Loop, path: Path) -> Loop | None:
        """The loop, or None where it goes back to nothing."""
        heads = self._existing((loop.back_to,), (*path, "back_to")) if loop.back_to else []
        exhausted = self._existing(loop.on_exhausted, (*path, "on_exhausted"))
        return msgspec.structs.replace(loop, on_exhausted=tuple(exhausted)) if heads else None

    def _existing(self, ids: Sequence[str], path: Path) -> list[str]:
        """The ids that are nodes; others are reported."""
        kept: list[str] = []
        for each in ids:
            if each in self._known:
                kept.append(each)
            else:
                near = self._findings.nearest(each, self._known)
                hint = f"did you mean {near!r}?" if near else ""
                self._findings.error("unknown_node", f"there is no node {quote(each)}", path, hint)
                if near:
                    self._doubted.add(self._known[near])
        return kept


_REFERENCES = ("on_error", "cancels", "compensate", "while_waiting")


def _special(nodes: Sequence[Node]) -> list[Edge]:
    """The edges of kinds of their own."""
    made = [Edge(source=node.id, target=target, kind=EdgeKind.ERROR) for node in nodes for target in node.on_error]
    made.extend(
        Edge(source=node.id, target=target, kind=EdgeKind.EXHAUSTED)
        for node in nodes
        if node.loop is not None
        for target in node.loop.on_exhausted
    )
    made.extend(
        Edge(source=node.while_waiting, target=node.id, kind=EdgeKind.MILESTONE)
        for node in nodes
        if node.while_waiting is not None
    )
    return made


def _as_it_is(value: Json, _path: Path, _findings: Findings) -> Json:
    """Ends are read once it is clear that they are no nodes."""
    return value


_EDGE_READERS = {"from": _as_it_is, "to": _as_it_is, "when": read_expression}
