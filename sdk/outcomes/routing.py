"""Routing: which outgoing edges of a node that succeeded are live, and whether its loop goes back. Pure.

The worker decides with it, and the replay decides again with it from the log.
"""

from __future__ import annotations

from typing import Any

from ...compiler.ir import Edge, Node
from ...compiler.reading import kind_of
from ...compiler.workflow import EdgeKind
from ..marking import rules
from .node_code import NodeCode
from .step_context import StepContext, StepError


def route(step: StepContext, output: Any) -> str:
    """Return the decision of a node that succeeded with ``output``. Raises StepError (NO_ROUTE, LOOP_EXHAUSTED)."""
    node, code, edges = step.node, step.code, step.plan.ir.edges
    assert code is not None
    step.context().set_output(output)
    if code.loop is not None and node.loop is not None and _holds(step, code.loop, "the loop's 'while'"):
        if iteration(step) < node.loop.max_iterations:
            return rules.gone_back(node)
        if not any(edges[e].kind is EdgeKind.EXHAUSTED for e in node.outs):
            raise StepError("LOOP_EXHAUSTED", f"{node.id!r} would go on after {node.loop.max_iterations} iterations")
        return rules.exhausted(node, edges)
    chosen = _chosen(step, node, code)
    live = [
        (target not in code.named or target in chosen)
        and (when is None or _holds(step, when, f"the edge to {target!r}"))
        if edges[e].kind is EdgeKind.NORMAL
        else False
        for e, target, when in zip(node.outs, code.targets, code.edge_when, strict=True)
    ]
    return rules.taken(node, edges, live)


def loop_word(node: Node, edges: tuple[Edge, ...], decision: str) -> str:
    """Return what the log says of a loop node's decision: back, break or exhausted; nothing for other nodes."""
    if node.loop is None:
        return ""
    if decision.endswith("b"):
        return "back"
    return "exhausted" if "l" in decision and decision == rules.exhausted(node, edges) else "break"


def iteration(step: StepContext) -> int:
    """Return which pass of its loop a loop node is in, from 1."""
    return step.scope[step.plan.ir.regions[step.node.loop_region].depth]


def _chosen(step: StepContext, node: Node, code: NodeCode) -> set[str]:
    if node.routing is None:
        return set()
    chosen: set[str] = set()
    found = False
    for when, following in code.rules:
        if _holds(step, when, "a rule"):
            found = True
            chosen.update(following)
            if node.routing.mode == "first":
                break
    if not found:
        if not node.routing.default:
            raise StepError("NO_ROUTE", f"no rule of {node.id!r} holds and it has no default")
        chosen.update(node.routing.default)
    return chosen


def _holds(step: StepContext, expression: Any, what: str) -> bool:
    verdict = step.evaluate(expression)
    if not isinstance(verdict, bool):
        kind = kind_of(verdict)
        raise StepError("EXPRESSION_ERROR", f"{what} gives true or false, not {kind} (in {expression.source!r})")
    return verdict
