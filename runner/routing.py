"""Routing: which outgoing edges of a node that succeeded are live, and whether its loop goes back."""

from __future__ import annotations

from typing import Any

from ..compiler.ir import Node
from ..compiler.workflow import EdgeKind
from ..sdk import rules
from .code import NodeCode
from .outcomes import StepError
from .work import Work


def route(work: Work, output: Any) -> str:
    """Return the decision of a node that succeeded with ``output``. Raises StepError (NO_ROUTE, LOOP_EXHAUSTED)."""
    node, code, edges = work.node, work.code, work.plan.ir.edges
    assert code is not None
    work.context().set_output(output)
    if code.loop is not None and node.loop is not None:
        if _holds(work, code.loop, "the loop's 'while'"):
            if iteration(work) < node.loop.max_iterations:
                return rules.gone_back(node)
            if not any(edges[e].kind is EdgeKind.EXHAUSTED for e in node.outs):
                raise StepError(
                    "LOOP_EXHAUSTED", f"{node.id!r} would go on after {node.loop.max_iterations} iterations"
                )
            return rules.exhausted(node, edges)
    chosen = _chosen(work, node, code)
    live = [
        (target not in code.named or target in chosen) and (when is None or _holds(work, when, f"the edge to {target!r}"))
        if edges[e].kind is EdgeKind.NORMAL
        else False
        for e, target, when in zip(node.outs, code.targets, code.edge_when, strict=True)
    ]
    return rules.taken(node, edges, live)


def iteration(work: Work) -> int:
    """Return which pass of its loop a loop node is in, from 1."""
    return work.scope[work.plan.ir.regions[work.node.loop_region].depth]


def _chosen(work: Work, node: Node, code: NodeCode) -> set[str]:
    if node.routing is None:
        return set()
    chosen: set[str] = set()
    found = False
    for when, following in code.rules:
        if _holds(work, when, "a rule"):
            found = True
            chosen.update(following)
            if node.routing.mode == "first":
                break
    if not found:
        if not node.routing.default:
            raise StepError("NO_ROUTE", f"no rule of {node.id!r} holds and it has no default")
        chosen.update(node.routing.default)
    return chosen


def _holds(work: Work, expression: Any, what: str) -> bool:
    verdict = work.evaluate(expression)
    if not isinstance(verdict, bool):
        kind = type(verdict).__name__
        raise StepError("EXPRESSION_ERROR", f"{what} gives true or false, not {kind} (in {expression.source!r})")
    return verdict
