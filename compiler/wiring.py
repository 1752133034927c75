"""Wiring: every way of naming an edge, and every reference between nodes, resolved to edges that exist.

``depends_on``, the targets of rules and ``edges:`` name normal edges; one pair is one edge. ``on_error``,
``on_exhausted`` and ``while_waiting`` name edges of their own kinds. Order: ``depends_on`` of each node in turn, then
routing targets, ``edges:``, and error edges, exhausted edges and milestone edges, each of one node after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from .diagnostics import Path
from .findings import Findings, quote
from .node_fields import Declared
from .reading import read_expression, read_fields, read_id
from .workflow import Edge, EdgeKind, Json, Node


def wire(declared: Sequence[Declared], edges: Sequence[Json], findings: Findings) -> tuple[Edge, ...]:
    """All edges of a document in their order. ``edges``: the items of ``edges:``."""
    return _Wiring(declared, findings).read(edges)


class _Wiring:
    def __init__(self, declared: Sequence[Declared], findings: Findings) -> None:
        self._declared = declared
        self._findings = findings
        self._known: dict[str, int] = {}
        self._normal: dict[tuple[str, str], str | None] = {}

    def read(self, edges: Sequence[Json]) -> tuple[Edge, ...]:
        for each in self._declared:
            first = self._known.setdefault(each.node.id, each.index)
            if first != each.index:
                message = f"the node id {quote(each.node.id)} stands twice (nodes {first} and {each.index})"
                self._findings.error("duplicate_id", message, ("nodes", each.index, "id"), "rename one of them")
        for each in self._declared:
            path: Path = ("nodes", each.index, "depends_on")
            for source in self._existing(each.depends_on, path):
                self._normal[source, each.node.id] = None
        for each in self._declared:
            for target in self._routed(each):
                self._normal.setdefault((each.node.id, target), None)
        self._read_edges(edges)
        for each in self._declared:
            self._check_references(each.node, ("nodes", each.index))
        made = [Edge(source=source, target=target, when=when) for (source, target), when in self._normal.items()]
        made.extend(self._special())
        return tuple(made)

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

    def _check_references(self, node: Node, path: Path) -> None:
        """References that make no normal edge. Those that make special edges are checked here too."""
        if node.on_error:
            self._existing(node.on_error, (*path, "on_error"))
        if node.cancels:
            self._existing(node.cancels, (*path, "cancels"))
        if node.compensate is not None:
            self._existing((node.compensate,), (*path, "compensate"))
        if node.while_waiting is not None:
            self._existing((node.while_waiting,), (*path, "while_waiting"))
        if node.loop is not None:
            if node.loop.back_to:
                self._existing((node.loop.back_to,), (*path, "loop", "back_to"))
            self._existing(node.loop.on_exhausted, (*path, "loop", "on_exhausted"))

    def _special(self) -> list[Edge]:
        nodes = [each.node for each in self._declared]
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

    def _existing(self, ids: Sequence[str], path: Path) -> list[str]:
        """The ids that are nodes; others are reported."""
        kept: list[str] = []
        for each in ids:
            if each in self._known:
                kept.append(each)
            else:
                hint = self._findings.suggest(each, self._known)
                self._findings.error("unknown_node", f"there is no node {quote(each)}", path, hint)
        return kept


def _as_it_is(value: Json, _path: Path, _findings: Findings) -> Json:
    """Ends are read once it is clear that they are no nodes."""
    return value


_EDGE_READERS = {"from": _as_it_is, "to": _as_it_is, "when": read_expression}
