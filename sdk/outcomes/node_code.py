"""Node code: the expressions of one node, compiled once per process and IR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from ...compiler.analysis.sites import (
    AFTER,
    BEFORE,
    CONFIG_EXPRESSIONS,
    CONFIG_LITERALS,
    ITEM,
    RESULT,
    SECRET_TYPES,
    SECRETS,
)
from ...compiler.cel import Expression, compile_expression
from ...compiler.ir import Ir, Node
from ...compiler.templates import ValueTemplate, compile_value
from ...compiler.workflow import EdgeKind
from ..marking.plan import Plan

ROOTS_BEFORE = BEFORE | ITEM
ROOTS_AFTER = AFTER | ITEM
ROOTS_RESULT = BEFORE | RESULT


@dataclass(frozen=True, slots=True)
class NodeCode:
    """``config``: expressions by field (CEL), ``template``: the rest. ``routes``: something decides among edges.

    ``is_gated``: something besides its input must be there before it runs. ``targets``: per outgoing edge the declared
    target's id; ``named``: ids that a rule or the default names.
    """

    when: Expression | None
    input: Expression | dict[str, Expression] | None
    config: dict[str, Expression | dict[str, Expression]]
    template: ValueTemplate
    rules: tuple[tuple[Expression, tuple[str, ...]], ...]
    loop: Expression | None
    edge_when: tuple[Expression | None, ...]
    targets: tuple[str, ...]
    named: frozenset[str]
    routes: bool
    is_gated: bool
    share: Expression | None
    fair: Expression | None
    pace: Expression | None


def compile_node(ir: Ir, node: Node) -> NodeCode:
    """Compile everything that is evaluated for ``node``. The IR was checked: no error is expected."""
    expressions = CONFIG_EXPRESSIONS.get(node.type, ())
    routing = node.routing
    edges = [ir.edges[e] for e in node.outs]
    named: set[str] = set(routing.default) if routing is not None else set()
    for rule in routing.rules if routing is not None else ():
        named.update(rule.next)
    apart = (*expressions, *CONFIG_LITERALS.get(node.type, ()))
    roots = ROOTS_BEFORE | SECRETS if node.type in SECRET_TYPES else ROOTS_BEFORE
    edge_when = tuple(None if e.when is None else compile_expression(e.when, roots=ROOTS_AFTER) for e in edges)
    return NodeCode(
        when=None if node.when is None else compile_expression(node.when, roots=ROOTS_BEFORE),
        input=_compile(node.input),
        config={k: _compiled(v) for k, v in node.config.items() if k in expressions},
        template=compile_value({k: v for k, v in node.config.items() if k not in apart}, roots=roots),
        rules=tuple(
            (compile_expression(rule.when, roots=ROOTS_AFTER), rule.next)
            for rule in (routing.rules if routing is not None else ())
        ),
        loop=None if node.loop is None else compile_expression(node.loop.condition, roots=ROOTS_AFTER),
        edge_when=edge_when,
        targets=tuple(declared_target(ir, e) for e in node.outs),
        named=frozenset(named),
        routes=routing is not None
        or node.loop is not None
        or any(when is not None for when, edge in zip(edge_when, edges, strict=True) if edge.kind is EdgeKind.NORMAL),
        is_gated=node.approval is not None
        or node.signal is not None
        or node.mutex != ""
        or node.waits_while >= 0
        or node.concurrency is not None
        or node.rate_limit is not None,
        share=None if node.concurrency is None else _before(node.concurrency.key),
        fair=None if node.concurrency is None or node.concurrency.fair is None else _before(node.concurrency.fair),
        pace=None if node.rate_limit is None else _before(node.rate_limit.key),
    )


class Codes:
    """The compiled expressions of one IR, node by node as they are needed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._codes: dict[int, NodeCode] = {}

    def of(self, number: int) -> NodeCode:
        code = self._codes.get(number)
        if code is None:
            code = self._codes[number] = compile_node(self.plan.ir, self.plan.ir.nodes[number])
        return code


def _before(source: str) -> Expression:
    return compile_expression(source, roots=ROOTS_BEFORE)


def declared_target(ir: Ir, edge: int) -> str:
    """Return the id of the node that an edge was declared to lead to: gates are looked through."""
    node = ir.nodes[ir.edges[edge].target]
    while node.is_gate:
        node = ir.nodes[ir.edges[node.outs[0]].target]
    return node.id


def _compiled(source: object) -> Expression | dict[str, Expression]:
    if isinstance(source, dict):
        fields = cast("dict[str, object]", source)
        return {name: compile_expression(str(text), roots=ROOTS_RESULT) for name, text in fields.items()}
    return compile_expression(str(source), roots=ROOTS_RESULT)


def _compile(source: str | dict[str, str] | None) -> Expression | dict[str, Expression] | None:
    return None if source is None else _compiled(source)
