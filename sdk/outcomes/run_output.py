"""The output of a run: its document's ``output`` expression, or the outputs of its terminal nodes by id. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from ...compiler.cel import EvaluationError, Expression, compile_expression
from ...compiler.ir import ReadKind
from ..errors import PayloadUnreadable
from ..json_values import NotJson, encode_value
from ..marking.plan import Plan
from ..sealing.sealing import open_error_json

ROOTS = frozenset({"input", "steps", "outputs", "tasks", "run"})
FIELD = {ReadKind.OUTPUT: "output", ReadKind.STEP_INPUT: "input", ReadKind.ERROR: "error"}


class OutputError(Exception):
    """The ``output`` expression cannot be evaluated."""


def run_output(plan: Plan, values: Sequence[bytes | None], run_id: str) -> bytes:
    """Return the output as JSON bytes. values: in the order of ``plan.output_reads()``. Raises OutputError."""
    ir = plan.ir
    if ir.output is None:
        outputs: dict[str, Any] = {}
        for terminal in ir.terminals:
            found = [msgspec.Raw(values[read] or b"null") for read in terminal.reads if values[read] is not None]
            if found:
                outputs[terminal.id] = found if terminal.is_list else found[0]
        return msgspec.json.encode(outputs)
    steps: dict[str, dict[str, Any]] = {}
    context: dict[str, Any] = {"steps": steps, "tasks": steps, "run": {"id": run_id, "workflow": ir.workflow}}
    for read, value in zip(ir.output_reads, values, strict=True):
        if read.kind is ReadKind.INPUT:
            context["input"] = msgspec.json.decode(value or b"null")
            continue
        step = steps.setdefault(ir.nodes[read.node].id, {})
        if read.kind is ReadKind.STATUS:
            step["status"] = "SKIPPED" if value is None else value.decode()
        elif value is not None:
            step[FIELD[read.kind]] = msgspec.json.decode(_opened(value) if read.kind is ReadKind.ERROR else value)
    context["outputs"] = {name: step["output"] for name, step in steps.items() if "output" in step}
    try:
        return encode_value(_compiled(ir.output).evaluate(context))
    except EvaluationError as error:
        raise OutputError(f"{error} (in {ir.output!r})") from error
    except NotJson as error:
        raise OutputError(f"the output is no JSON value: {error}") from error


@lru_cache(maxsize=1_000)
def _compiled(source: str) -> Expression:
    """A workflow has one output expression and many runs."""
    return compile_expression(source, roots=ROOTS)


def _opened(error: bytes) -> bytes:
    try:
        return open_error_json(error)
    except PayloadUnreadable as problem:
        raise OutputError(f"the text of an error cannot be read: {problem}") from problem
