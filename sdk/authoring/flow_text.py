"""Flow text: a workflow as the Python that builds it (``building``). Running the text gives an equal workflow. Pure."""

from __future__ import annotations

import keyword
from pprint import pformat
from typing import Any

from ...compiler.document import to_document
from ...compiler.subflows import SUBFLOW
from ...compiler.workflow import Workflow

WIDTH = 100
FLOW = "flow"
_TAKEN = frozenset({FLOW, "workflow"})
_ROUTING = ("rules", "default")
_APART = frozenset({"id", "type", "depends_on", "loop", *_ROUTING})
"""Fields that are written in another way than as an argument of their own name."""


def flow_text(workflow: Workflow) -> str:
    """Return the source of a module that has the workflow as ``flow``."""
    document = to_document(workflow)
    nodes: list[dict[str, Any]] = document["nodes"]
    names = _names([node["id"] for node in nodes])
    head = {name: value for name, value in document.items() if name not in ("courante", "id", "nodes", "edges")}
    lines = ["from courante import workflow", "", _call(f"{FLOW} = workflow", [document["id"]], head), ""]
    later: list[str] = []
    for place, node in enumerate(nodes):
        lines.append(_node(node, names, {each["id"] for each in nodes[:place]}))
        later += _routing(node, names)
    edges = [_edge(edge, names) for edge in document.get("edges", [])]
    for block in (later, edges):
        if block:
            lines += ["", *block]
    return "\n".join([*lines, ""])


def _node(node: dict[str, Any], names: dict[str, str], known: set[str]) -> str:
    fields = {name: value for name, value in node.items() if name not in _APART}
    config: dict[str, Any] = {**node.get("config", {})}
    if node["type"] == "conditional":
        config = {name: value for name, value in config.items() if name not in _ROUTING}
    positional = [node["id"], node["type"]]
    method = "node"
    if node["type"] == "function" and isinstance(config.get("handler"), str):
        method, positional = "step", [node["id"], config.pop("handler")]
    elif node["type"] == SUBFLOW:
        method, positional = SUBFLOW, [node["id"], config.pop("workflow")]
        positional += [config.pop("version")] if "version" in config else []
    fields.pop("config", None)
    if config:
        fields["config"] = config
    after = [names[each] if each in known else repr(each) for each in node.get("depends_on", [])]
    raw = {} if not after else {"after": after[0] if len(after) == 1 else f"[{', '.join(after)}]"}
    return _call(f"{names[node['id']]} = {FLOW}.{method}", positional, fields, raw)


def _routing(node: dict[str, Any], names: dict[str, str]) -> list[str]:
    """Rules, default and loop, behind all nodes: they may lead to later ones."""
    name = names[node["id"]]
    fields: dict[str, Any] = node.get("config", {}) if node["type"] == "conditional" else node
    lines = [
        f"{name}.when({', '.join([repr(r['when']), *_places(r['next'], names)])})" for r in fields.get("rules", [])
    ]
    if "default" in fields:
        lines.append(f"{name}.otherwise({', '.join(_places(fields['default'], names))})")
    if "loop" in node:
        loop = dict(node["loop"])
        raw = {"while_": repr(loop.pop("while")), "back_to": names[loop.pop("back_to")]}
        lines.append(_call(f"{name}.repeat", [], loop, raw))
    return lines


def _edge(edge: dict[str, Any], names: dict[str, str]) -> str:
    when = {"when": repr(edge["when"])} if "when" in edge else {}
    places = _places([edge["from"], edge["to"]], names)
    return f"{FLOW}.edge({', '.join([*places, *(f'{name}={value}' for name, value in when.items())])})"


def _places(ids: list[str], names: dict[str, str]) -> list[str]:
    return [names[each] for each in ids]


def _names(ids: list[str]) -> dict[str, str]:
    """A variable for every node."""
    names: dict[str, str] = {}
    taken = set(_TAKEN)
    for each in ids:
        name = "".join(c if c.isalnum() else "_" for c in each)
        if keyword.iskeyword(name) or name in taken:
            name += "_"
        while name in taken:
            name += "_"
        taken.add(name)
        names[each] = name
    return names


def _call(start: str, positional: list[Any], fields: dict[str, Any], raw: dict[str, str] | None = None) -> str:
    """A call on one line where it fits, else an argument a line. raw: arguments that are source already."""
    written = [repr(value) for value in positional]
    written += [f"{name}={source}" for name, source in (raw or {}).items()]
    written += [f"{name}={_literal(value, len(name) + 5)}" for name, value in fields.items()]
    line = f"{start}({', '.join(written)})"
    if len(line) <= WIDTH and "\n" not in line:
        return line
    arguments = "".join(f"    {argument},\n" for argument in written)
    return f"{start}(\n{arguments})"


def _literal(value: object, indent: int) -> str:
    """A JSON value as Python, in several lines where it is long."""
    shown = repr(value)
    if len(shown) + indent <= WIDTH:
        return shown
    first, *rest = pformat(value, width=max(40, WIDTH - indent), sort_dicts=False).splitlines()
    return "\n".join([first, *(" " * indent + line for line in rest)])
