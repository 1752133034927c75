"""A workflow as a drawing, for Mermaid or Graphviz. Pure."""

from __future__ import annotations

import json

from ...compiler.workflow import Edge, EdgeKind, Node, Workflow

_LABELS = {
    EdgeKind.NORMAL: "",
    EdgeKind.ERROR: "on error",
    EdgeKind.EXHAUSTED: "exhausted",
    EdgeKind.MILESTONE: "while it waits",
}
_ROUND = frozenset({"conditional", "filter"})


def to_mermaid(workflow: Workflow) -> str:
    """A Mermaid flowchart. Nodes are numbered: their ids may be words that Mermaid keeps for itself."""
    names = {node.id: f"n{number}" for number, node in enumerate(workflow.nodes)}
    lines = ["flowchart LR"]
    for node in workflow.nodes:
        opening, closing = ("{", "}") if node.type in _ROUND else ("[", "]")
        lines.append(f"  {names[node.id]}{opening}{_mermaid_text(_title(node))}{closing}")
    for edge in workflow.edges:
        label = _label(workflow, edge)
        shown = f"|{_mermaid_text(label)}|" if label else ""
        arrow = "-->" if edge.kind is EdgeKind.NORMAL else "-.->"
        lines.append(f"  {names[edge.source]} {arrow}{shown} {names[edge.target]}")
    lines += [
        f"  {names[node.id]} -.->|{_mermaid_text(f'while {node.loop.condition}')}| {names[node.loop.back_to]}"
        for node in workflow.nodes
        if node.loop is not None
    ]
    return "\n".join(lines)


def to_dot(workflow: Workflow) -> str:
    """A directed graph in Graphviz' language."""
    lines = [f"digraph {json.dumps(workflow.id)} {{", "  rankdir=LR;", "  node [shape=box];"]
    for node in workflow.nodes:
        shape = ", shape=diamond" if node.type in _ROUND else ""
        lines.append(f"  {_dot_text(node.id)} [label={_dot_text(_title(node))}{shape}];")
    for edge in workflow.edges:
        style = ", style=dashed" if edge.kind is not EdgeKind.NORMAL else ""
        label = _dot_text(_label(workflow, edge))
        lines.append(f"  {_dot_text(edge.source)} -> {_dot_text(edge.target)} [label={label}{style}];")
    for node in workflow.nodes:
        if node.loop is not None:
            label = _dot_text(f"while {node.loop.condition}")
            ends = f"{_dot_text(node.id)} -> {_dot_text(node.loop.back_to)}"
            lines.append(f"  {ends} [label={label}, style=dashed, constraint=false];")
    return "\n".join([*lines, "}"])


def _title(node: Node) -> str:
    return f"{node.id}\n{node.type}"


def _label(workflow: Workflow, edge: Edge) -> str:
    """Why the edge is taken: its guard, the rule that names it, or what kind it is."""
    if edge.when is not None:
        return edge.when
    node = next(node for node in workflow.nodes if node.id == edge.source)
    if edge.kind is EdgeKind.NORMAL and node.routing is not None:
        rules = [rule.when for rule in node.routing.rules if edge.target in rule.next]
        return " or ".join(rules) or ("otherwise" if edge.target in node.routing.default else "")
    return _LABELS[edge.kind]


def _mermaid_text(text: str) -> str:
    """Quoted, with entities for what Mermaid would read as markup."""
    text = text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
    return '"' + text.replace("|", "#124;").replace("\n", "<br/>") + '"'


def _dot_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
