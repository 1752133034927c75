"""Building: a workflow written in Python. What comes out is the native document, and so the same IR.

```python
flow = workflow("order-scoring", input={"type": "object", "required": ["text"]})
score = flow.step("score", "shop.score", input={"text": "input.text"})
decide = flow.node("decide", "conditional", after=score)
accept, reject = flow.node("accept", "noop"), flow.node("reject", "noop")
decide.when("output > 0.8", accept).otherwise(reject)
[accept, reject] >> flow.node("done", "noop", join="any")
```

Fields are those of the document (docs/reference/workflow.schema.json) and are checked like it, all at once, when the
workflow is asked for. Pure; ``flow.document`` prints as YAML and JSON, ``flow_text`` prints any workflow as Python.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, cast

from ...compiler.analysis import compile_document
from ...compiler.diagnostics import has_errors
from ...compiler.ir import Ir
from ...compiler.normalize import normalize, read_document
from ...compiler.workflow import Workflow
from ..errors import DocumentInvalid
from .steps import REGISTRY

Targets: TypeAlias = "BuiltNode | str | Iterable[BuiltNode | str]"


class Path:
    """A place in the context of expressions: ``score.output.body`` is ``steps.score.output.body``."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __getattr__(self, name: str) -> Path:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name] if _needs_quotes(name) else Path(f"{self._text}.{name}")

    def __getitem__(self, key: str | int) -> Path:
        shown = str(key) if isinstance(key, int) else _quoted(key)
        return Path(f"{self._text}[{shown}]")

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__


class BuiltNode:
    """One node of a flow. Made by ``Flow.node`` and ``Flow.step``."""

    def __init__(self, flow: Flow, written: dict[str, Any]) -> None:
        self._flow = flow
        self._written = written

    @property
    def id(self) -> str:
        return str(self._written["id"])

    @property
    def output(self) -> Path:
        """Its output, in expressions of other nodes."""
        return Path(f'steps["{self.id}"].output' if _needs_quotes(self.id) else f"steps.{self.id}.output")

    def __rshift__(self, other: Targets) -> Any:
        """Lead on to a node, or to several; gives them, so that a chain can go on."""
        return _Several([self]) >> other

    def __rrshift__(self, others: Iterable[BuiltNode]) -> BuiltNode:
        """``[a, b] >> c``: c depends on both."""
        self.depends_on(*others)
        return self

    def when(self, condition: object, *targets: BuiltNode | str) -> BuiltNode:
        """Add a rule: where it holds, these are next."""
        self._routing().setdefault("rules", []).append({"when": _plain(condition), "next": _ids(targets)})
        return self

    def otherwise(self, *targets: BuiltNode | str) -> BuiltNode:
        """What is next where no rule holds."""
        self._routing()["default"] = _ids(targets)
        return self

    def repeat(self, *, while_: object, back_to: BuiltNode | str, **fields: Any) -> BuiltNode:
        """Go back while a condition on its output holds. fields: max_iterations, on_exhausted, delay."""
        loop = {"while": _plain(while_), "back_to": _id(back_to), **{k: _plain(v) for k, v in fields.items()}}
        self._written["loop"] = loop
        return self

    def depends_on(self, *others: BuiltNode | str) -> None:
        """Add edges from others, in this order."""
        known: list[str] = self._written.setdefault("depends_on", [])
        known += [each for each in _ids(others) if each not in known]

    def _routing(self) -> dict[str, Any]:
        """Rules of a conditional stand in its config."""
        if self._written["type"] != "conditional":
            return self._written
        config: dict[str, Any] = self._written.setdefault("config", {})
        return config

    def belongs_to(self, flow: Flow) -> bool:
        return self._flow is flow


class _Several(list[BuiltNode]):
    """Nodes side by side."""

    def __rshift__(self, other: Targets) -> Any:
        several = [other] if isinstance(other, BuiltNode) else list(cast("Iterable[BuiltNode]", other))
        for each in several:
            each.depends_on(*self)
        return other if isinstance(other, BuiltNode) else _Several(several)


class Flow:
    """A workflow that is being built. ``fields``: of the document, like ``name``, ``input``, ``policy``."""

    def __init__(self, id: str, **fields: Any) -> None:
        self._head: dict[str, Any] = {
            "courante": 1,
            "id": id,
            **{name: _plain(value) for name, value in fields.items()},
        }
        self._nodes: list[dict[str, Any]] = []
        self._edges: list[dict[str, Any]] = []

    def node(self, id: str, type: str, *, after: Targets = (), **fields: Any) -> BuiltNode:
        """Add a node. after: what it depends on; fields: of a node of the document."""
        written: dict[str, Any] = {"id": id, "type": type}
        built = BuiltNode(self, written)
        sources = [after] if isinstance(after, BuiltNode | str) else list(after)
        if sources:
            built.depends_on(*sources)
        written.update({name: _plain(value) for name, value in fields.items()})
        self._nodes.append(written)
        return built

    def step(self, id: str, handler: str | Callable[..., Any], *, after: Targets = (), **fields: Any) -> BuiltNode:
        """Add a node of type ``function``. handler: its registered name, or the function under ``@step`` itself."""
        config = {"handler": _name_of(handler), **fields.pop("config", {})}
        return self.node(id, "function", after=after, config=config, **fields)

    def subflow(
        self, id: str, workflow: str | Flow, version: int | None = None, *, after: Targets = (), **fields: Any
    ) -> BuiltNode:
        """Add a node of type ``subflow``. workflow: its id, or a flow. version: None for the latest."""
        name = workflow.id if isinstance(workflow, Flow) else workflow
        config = {"workflow": name, **({} if version is None else {"version": version}), **fields.pop("config", {})}
        return self.node(id, "subflow", after=after, config=config, **fields)

    @property
    def id(self) -> str:
        return str(self._head["id"])

    def edge(self, source: BuiltNode | str, target: BuiltNode | str, when: object = None) -> None:
        """Add an edge beside those of ``after`` and ``>>``, with a condition or without."""
        condition = {} if when is None else {"when": _plain(when)}
        self._edges.append({"from": _id(source), "to": _id(target), **condition})

    def change(self, type: str, *steps: BuiltNode | str) -> None:
        """Say which steps a change of the outside world makes out of date: those that a rebuild executes again."""
        known: list[str] = self._head.setdefault("changes", {}).setdefault(type, [])
        known += [each for each in _ids(steps) if each not in known]

    @property
    def document(self) -> dict[str, Any]:
        """The native document: a copy."""
        edges = {"edges": self._edges} if self._edges else {}
        return copy.deepcopy({**self._head, "nodes": self._nodes, **edges})

    def workflow(self) -> Workflow:
        """Return the normalized workflow. Raises DocumentInvalid with everything that is wrong."""
        found, diagnostics = normalize(self.document)
        if found is None or has_errors(diagnostics):
            raise DocumentInvalid(diagnostics)
        return found

    def compile(self) -> Ir:
        """Return the IR. Raises DocumentInvalid."""
        ir, diagnostics = compile_document(read_document(self.document))
        if ir is None:
            raise DocumentInvalid(diagnostics)
        return ir


def workflow(id: str, **fields: Any) -> Flow:
    """Begin a workflow. fields: those of the document's root, like ``name``, ``input``, ``output``, ``policy``."""
    return Flow(id, **fields)


def _id(node: BuiltNode | str) -> str:
    return node.id if isinstance(node, BuiltNode) else node


def _ids(nodes: Iterable[BuiltNode | str]) -> list[str]:
    return [_id(node) for node in nodes]


def _plain(value: Any) -> Any:
    """Nodes become their ids, paths their expressions, all the way down."""
    if isinstance(value, BuiltNode):
        return value.id
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in cast("list[Any]", value)]
    return value


def _name_of(handler: str | Callable[..., Any]) -> str:
    if isinstance(handler, str):
        return handler
    for name in REGISTRY.names():
        step = REGISTRY.get(name)
        if step is not None and step.function is handler:
            return name
    raise ValueError(f"{getattr(handler, '__qualname__', handler)!r} is no step: put @step above it")


def _needs_quotes(name: str) -> bool:
    return not (name.isascii() and name.isidentifier())


def _quoted(key: str) -> str:
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
