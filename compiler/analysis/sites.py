"""Sites: every place of a node where an expression may stand, and which names it sees there.

Expressions are compiled here only to find what is wrong with them and what they refer to; the IR keeps the sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from ..cel import SECRET_ROOT, ExpressionError, Reference, compile_expression
from ..templates import compile_value
from ..workflow import Json, Node, Workflow
from .graph import Findings

BEFORE = frozenset({"input", "steps", "outputs", "inputs", "tasks", "run", "loop"})
"""The roots before a node has run: its input, ``when`` and config."""
AFTER = BEFORE | {"output"}
"""The roots after it: rules, loop condition, ``when`` of its edges."""
ITEM = frozenset({"item", "index"})
"""Added inside the body of a map, in the predicate of a ``filter``, and where an aggregate looks at a result."""
RESULT = ITEM | {"acc"}
RUN_FIELDS = frozenset({"id", "workflow"})
LOOP_FIELDS = frozenset({"iteration"})

SECRETS = frozenset({SECRET_ROOT})
"""Added in the config of the types that may name secrets: nothing of it is ever stored."""
SECRET_TYPES = frozenset({"http"})

CONFIG_EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "transform": ("expression", "mapping"),
    "filter": ("items", "where"),
    "validate": ("value",),
    "wait": ("until",),
    "map": ("items",),
    "aggregate": ("reduce", "group"),
}
"""Config fields that hold CEL (or an object of CEL by name), not templates, by node type."""

CONFIG_LITERALS: dict[str, tuple[str, ...]] = {"validate": ("schema",), "llm": ("schema",), "agent": ("schema",)}
"""Config fields that are neither: taken as they stand."""


@dataclass(frozen=True, slots=True)
class Site:
    """One expression. ``place``: its path below the node. ``after``: evaluated when the node has its output."""

    place: tuple[str | int, ...]
    source: Json
    roots: frozenset[str]
    after: bool
    is_template: bool = False


def node_sites(node: Node, in_map: bool) -> Iterator[Site]:
    before = BEFORE | ITEM if in_map else BEFORE
    after = AFTER | ITEM if in_map else AFTER
    if isinstance(node.input, str):
        yield Site(("input",), node.input, before, False)
    elif node.input is not None:
        for name, source in node.input.items():
            yield Site(("input", name), source, before, False)
    if node.when is not None:
        yield Site(("when",), node.when, before, False)
    if node.concurrency is not None:
        yield Site(("concurrency", "key"), node.concurrency.key, before, False)
        if node.concurrency.fair is not None:
            yield Site(("concurrency", "fair"), node.concurrency.fair, before, False)
    if node.rate_limit is not None:
        yield Site(("rate_limit", "key"), node.rate_limit.key, before, False)
    expressions = CONFIG_EXPRESSIONS.get(node.type, ())
    literals = CONFIG_LITERALS.get(node.type, ())
    config = node.config if node.type else {}  # of a type that is not known, nobody knows what is an expression
    for name, value in ((name, value) for name, value in config.items() if name not in literals):
        roots = before | RESULT if node.type == "aggregate" else before
        roots = before | ITEM if (node.type, name) == ("filter", "where") else roots
        if name not in expressions:
            roots = before | SECRETS if node.type in SECRET_TYPES else before
            yield Site(("config", name), value, roots, False, is_template=True)
        elif isinstance(value, dict):
            for key, source in cast("dict[str, Json]", value).items():
                yield Site(("config", name, key), source, roots, False)
        else:
            yield Site(("config", name), value, roots, False)
    if node.routing is not None:
        for i, rule in enumerate(node.routing.rules):
            yield Site(("rules", i, "when"), rule.when, after, True)
    if node.loop is not None:
        yield Site(("loop", "while"), node.loop.condition, after, True)


def site_references(site: Site, node: int, findings: Findings) -> tuple[Reference, ...]:
    """Compile one site; what is wrong with it becomes a diagnostic."""
    if site.is_template:
        errors: list[ExpressionError] = []
        references = compile_value(site.source, roots=site.roots, errors=errors).references
        for error in errors:
            _tell(error, site, node, findings)
        return references
    if not isinstance(site.source, str):
        findings.add("expression_type", "an expression is text", node, *site.place)
        return ()
    try:
        return compile_expression(site.source, roots=site.roots).references
    except ExpressionError as error:
        _tell(error, site, node, findings)
        return ()


def _tell(error: ExpressionError, site: Site, node: int, findings: Findings) -> None:
    source = site.source
    for step in error.path:
        source = source[step]
    shown = source if isinstance(source, str) and len(source) <= 200 else "..."
    findings.add(error.code, f"{error.message} (in {shown!r})", node, *site.place, *error.path, hint=error.hint)


def output_references(workflow: Workflow, findings: Findings) -> tuple[Reference, ...]:
    """The references of the workflow's own ``output``."""
    if workflow.output is None:
        return ()
    site = Site(("output",), workflow.output, BEFORE - {"inputs", "loop"}, True)
    return site_references(site, -1, findings)
