"""What decides with the config what a step would come to is in its effective input."""

from __future__ import annotations

from typing import Any, cast

from courante.compiler.ir import encode_ir, ir_hash
from courante.runner.effective_input import effective_input
from courante.runner.nodes.transform import run_transform
from courante.runner.toolbox import Toolbox
from courante.runner.work import Work
from courante.sdk.marking.marking import TokenKind
from courante.sdk.marking.plan import Plan
from courante.sdk.outcomes.node_code import compile_node
from courante.sdk.outcomes.outcomes import Succeeded
from integration.floor import compile_document

TOOLS = cast("Toolbox", None)
"""Nodes that shape data need none."""


def met(plan: Plan, live: str) -> Work:
    """A token at ``d``, to which those of its predecessors have come; all have their outputs by then."""
    number = plan.numbers["d"]
    outputs = {"a": b"1", "b": b"2", "c": b"3"}
    node = plan.ir.nodes[number]
    return Work(
        run_id="r",
        plan=plan,
        number=number,
        scope=(),
        live=live,
        values=[outputs[plan.node_ids[read.node]] for read in node.reads],
        code=compile_node(plan.ir, node),
        fence="1",
        stream=1,
        entry="1-0",
        phase="",
        kind=TokenKind.NORMAL,
        attempt=1,
    )


def test_who_has_come_counts_where_it_is_asked() -> None:
    """With an input of its own, too, a join may look at what has come by then."""
    nodes: list[dict[str, Any]] = [{"id": name, "type": "noop"} for name in "abc"]
    nodes.append(
        {
            "id": "d",
            "type": "transform",
            "depends_on": ["a", "b", "c"],
            "join": {"at_least": 2},
            "input": "1",
            "config": {"expression": "inputs"},
            "cache": "global",
        }
    )
    _, ir = compile_document({"courante": 1, "id": "w", "nodes": nodes})
    plan = Plan(ir_hash(encode_ir(ir)), ir)
    early, late = (met(plan, live) for live in ("+0,1", "+1,2"))
    outputs = [cast("Succeeded", run_transform(work)).output for work in (early, late)]
    assert outputs == [b'{"a":1,"b":2}', b'{"b":2,"c":3}']
    assert effective_input(early, TOOLS) != effective_input(late, TOOLS)
