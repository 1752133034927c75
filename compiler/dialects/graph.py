"""The graph dialect of Workflow-Runner: ``nodes:`` and ``edges:`` with eight types -> native.

``function``, ``http``, ``transform`` and ``filter`` keep their type. ``aggregate`` is the fan-in of this dialect, not
of a map: a ``noop`` that joins all, whose input is the outputs of its predecessors by id. ``parallel`` is a ``noop``
with several edges. ``loop`` is a ``noop`` that loops: ``condition`` true goes back, false takes ``break_path``, too
many iterations take ``timeout_path``. Drawn back edges, and drawn edges to the timeout path, are no edges of ours.
A ``conditional`` without rules takes them from the conditions on its edges, in their order.
"""

from __future__ import annotations

from typing import cast

from ..diagnostics import Path
from ..findings import Findings
from ..node_fields import NODE_FIELDS
from ..reading import missing_field, wrong_type
from ..workflow import Json
from .graph_config import CODE, put_work
from .translation import (
    Fields,
    Translation,
    as_fields,
    as_items,
    as_text,
    copy_metadata,
    first_of,
    ignore_unknown,
    move,
    origin_by,
    slug,
)

_ROOT_FIELDS = frozenset(
    {
        "id",
        "name",
        "description",
        "version",
        "tags",
        "nodes",
        "edges",
        "input",
        "output",
        "policy",
        "defaults",
        "changes",
    }
)
_NODE_FIELDS = frozenset(NODE_FIELDS) - {"depends_on", "rules", "default", "mode"} | {
    "wait_for_all", "branch", "description", "timeout_ms", "config_ref",
}  # fmt: skip
_EDGE_FIELDS = frozenset({"from", "to", "condition", "when", "id", "label"})
_LOOP = {"loop_back_to": "back_to", "max_iterations": "max_iterations", "timeout_path": "on_exhausted"}
_LOOP_FIELDS = frozenset({*_LOOP, "enabled", "condition", "break_path", "delay"})
_PLACES: dict[Path, Path] = {
    ("loop", "while"): ("config", "condition"),
    ("loop", "back_to"): ("config", "loop_back_to"),
    ("loop", "max_iterations"): ("config", "max_iterations"),
    ("loop", "on_exhausted"): ("config", "timeout_path"),
    ("join",): ("wait_for_all",),
    ("timeout",): ("timeout_ms",),
    ("retry", "base"): ("retry", "backoff_ms"),
    ("retry", "factor"): ("retry", "backoff_multiplier"),
}


def translate_graph(value: Fields, findings: Findings) -> Translation:
    """Rewrite a document of the graph dialect. Faults that only the dialect can see go to ``findings``."""
    ignore_unknown(value, (), findings, _ROOT_FIELDS | {"metadata"})
    name = first_of({**as_fields(value.get("metadata")), **value}, "name")
    if name is None and "id" not in value:
        missing_field("id", (), findings, "or a name, of which the id is made")
        name = "unnamed"
    document: Fields = {"courante": 1, "id": value["id"] if "id" in value else slug(name)}
    names = ("name", "description", "input", "output", "policy", "defaults", "changes")
    move(value, document, {name: name for name in names})
    copy_metadata(value, document, ("version", "tags"))
    graph = _Graph(value, findings)
    document["nodes"], document["edges"] = graph.nodes, graph.edges
    to_item = origin_by("nodes", _PLACES, {})

    def origin(path: Path) -> Path:
        if len(path) > 1 and path[0] == "edges" and isinstance(path[1], int):
            return (*graph.edge_places[path[1]], *path[2:])
        return to_item(path)

    return Translation(document, origin)


class _Graph:
    """``edge_places``: where each native edge stood in the original."""

    def __init__(self, value: Fields, findings: Findings) -> None:
        self._findings = findings
        self.edges: list[Json] = []
        self.edge_places: list[Path] = []
        self._drawn = list(as_items(value.get("edges")))
        self._dropped: set[int] = set()
        self._outgoing: dict[str, list[int]] = {}
        for number, edge in enumerate(self._drawn):
            source = as_fields(edge).get("from")
            if isinstance(source, str):
                self._outgoing.setdefault(source, []).append(number)
        self._added: list[tuple[Fields, Path]] = []
        self.nodes = [
            self._node(cast("Fields", node), index) if isinstance(node, dict) else node
            for index, node in enumerate(as_items(value.get("nodes")))
        ]
        self._read_edges()

    def _node(self, written: Fields, index: int) -> Fields:
        path: Path = ("nodes", index)
        kind = as_text(written.get("type"))
        ignore_unknown(written, path, self._findings, _NODE_FIELDS)
        left_out = {"config", "metadata", "loop", "type"}
        node: Fields = {name: written[name] for name in NODE_FIELDS if name in written and name not in left_out}
        copy_metadata(written, node, ("description",))
        config = dict(as_fields(written.get("config")))
        if not isinstance(written.get("config", {}), dict):
            wrong_type(self._findings, (*path, "config"), "an object", written["config"])
        if kind == "conditional" or "branch" in written:
            self._put_rules(node, written, config, path)
        if kind == "loop" or "loop" in written:
            self._put_loop(node, written, config, path)
        if kind == "parallel":
            self._add_edges(node, config.pop("branches", None), (*path, "config", "branches"))
        put_work(node, written, config, path, self._findings)
        self._put_join(node, written, kind, path)
        return node

    def _put_join(self, node: Fields, written: Fields, kind: str, path: Path) -> None:
        waits = written.get("wait_for_all")
        if isinstance(waits, bool):
            node.setdefault("join", "all" if waits else "any")
        elif waits is not None:
            wrong_type(self._findings, (*path, "wait_for_all"), "true or false", waits)
        elif kind == "aggregate":
            node.setdefault("join", "all")

    def _put_rules(self, node: Fields, written: Fields, config: Fields, path: Path) -> None:
        """Rules from ``branch``, the config, or the conditions on the node's edges."""
        place: Path = (*path, "branch") if "branch" in written else (*path, "config")
        branch = as_fields(written["branch"]) if "branch" in written else config
        if branch.get("enabled") is False:
            return
        if branch.get("type", "conditional") != "conditional":
            hint = "let the node say in its output where to go, and write rules on that"
            self._findings.error("unknown_value", "branches are of the type 'conditional'", (*place, "type"), hint)
        routing: Fields = {name: branch[name] for name in ("default", "mode") if name in branch}
        if "rules" in branch:
            routing["rules"] = [
                self._rule(rule, (*place, "rules", number)) for number, rule in enumerate(as_items(branch["rules"]))
            ]
        elif (source := as_text(node.get("id"))) in self._outgoing:
            self._rules_of_edges(routing, source)
        for name in ("rules", "default", "mode"):
            config.pop(name, None)
        if written.get("type") == "conditional":
            config.update(routing)
        else:
            node.update(routing)

    def _rule(self, rule: Json, path: Path) -> Json:
        if not isinstance(rule, dict):
            return rule
        fields = cast("Fields", rule)
        ignore_unknown(fields, path, self._findings, frozenset({"condition", "when", "next", "next_nodes"}))
        made: Fields = {}
        if "condition" in fields or "when" in fields:
            made["when"] = self._condition(first_of(fields, "condition", "when"), (*path, "condition"))
        else:
            missing_field("condition", path, self._findings)
            made["when"] = "false"
        move(fields, made, {"next": "next", "next_nodes": "next"})
        return made

    def _rules_of_edges(self, routing: Fields, source: str) -> None:
        rules: list[Json] = []
        default: list[Json] = []
        for number in self._outgoing[source]:
            edge = as_fields(self._drawn[number])
            condition = first_of(edge, "condition", "when")
            if condition is None:
                default.append(edge.get("to"))
            else:
                when = self._condition(condition, ("edges", number, "condition"))
                rules.append({"when": when, "next": as_items(edge.get("to"))})
                self._drawn[number] = {name: edge[name] for name in edge if name not in {"condition", "when"}}
        if rules:
            routing["rules"] = rules
            if default:
                routing.setdefault("default", default)

    def _put_loop(self, node: Fields, written: Fields, config: Fields, path: Path) -> None:
        place: Path = (*path, "loop") if "loop" in written else (*path, "config")
        fields = as_fields(written["loop"]) if "loop" in written else dict(config)
        known = _LOOP_FIELDS if "loop" in written else _LOOP_FIELDS | CODE
        ignore_unknown(fields, place, self._findings, known)
        if "loop" not in written:
            for name in config.keys() - CODE:
                del config[name]
        if fields.get("enabled") is False:
            return
        loop: Fields = {"while": self._condition(fields.get("condition", True), (*place, "condition"))}
        move(fields, loop, {**_LOOP, "delay": "delay"})
        for name in ("loop_back_to", "max_iterations"):
            if name not in fields:
                missing_field(name, place, self._findings)
                loop.setdefault(_LOOP[name], node.get("id") if name == "loop_back_to" else 1)
        node["loop"] = loop
        leaves = as_items(fields.get("break_path"))
        drawn_only = [fields.get("loop_back_to"), *as_items(fields.get("timeout_path"))]
        for number in self._outgoing.get(as_text(node.get("id")), []):
            target = as_fields(self._drawn[number]).get("to")
            if target in drawn_only and target not in leaves:
                self._dropped.add(number)
        self._add_edges(node, leaves, (*place, "break_path"))

    def _condition(self, condition: Json, path: Path) -> Json:
        """The CEL source of a condition: itself, or ``expression`` of an object of type ``cel``."""
        if not isinstance(condition, dict):
            return condition
        fields = cast("Fields", condition)
        ignore_unknown(fields, path, self._findings, frozenset({"type", "expression", "invert"}))
        if fields.get("type", "cel") != "cel":
            self._findings.error("unknown_value", "conditions are of the type 'cel'", (*path, "type"))
        if "expression" not in fields:
            missing_field("expression", path, self._findings)
        expression = fields.get("expression", "false")
        return f"!({expression})" if fields.get("invert") is True else expression

    def _add_edges(self, node: Fields, targets: Json, path: Path) -> None:
        self._added += [({"from": node.get("id"), "to": target}, path) for target in as_items(targets)]

    def _edge(self, fields: Fields, path: Path) -> Fields:
        ignore_unknown(fields, path, self._findings, _EDGE_FIELDS)
        edge: Fields = {name: fields[name] for name in ("from", "to") if name in fields}
        if "condition" in fields or "when" in fields:
            edge["when"] = self._condition(first_of(fields, "condition", "when"), (*path, "condition"))
        return edge

    def _read_edges(self) -> None:
        for number, edge in enumerate(self._drawn):
            if number in self._dropped:
                continue
            place: Path = ("edges", number)
            self.edges.append(self._edge(cast("Fields", edge), place) if isinstance(edge, dict) else edge)
            self.edge_places.append(place)
        drawn = {(as_fields(edge).get("from"), as_fields(edge).get("to")) for edge in self.edges if _is_pair(edge)}
        for edge, place in self._added:
            if not _is_pair(edge) or (edge["from"], edge["to"]) not in drawn:
                self.edges.append(edge)
                self.edge_places.append(place)


def _is_pair(edge: Json) -> bool:
    """Both ends are text, so the pair can be looked up."""
    fields = as_fields(edge)
    return isinstance(fields.get("from"), str) and isinstance(fields.get("to"), str)
