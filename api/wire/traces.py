"""Calls of tools, as they travel: which was called with what, what it gave, and how long that took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ...compiler.analysis.build import TRACED
from ...compiler.ir import Ir
from ...sdk.events import ErrorInfo
from ...sdk.stores.traces import Traced


class ToolError(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    message: str


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """``error``: null where the call has given a result. ``duration_ms``: of the attempt."""

    tool: str | None
    arguments: Any
    result: Any
    error: ToolError | None
    duration_ms: int


def traced_nodes(ir: Ir | None) -> list[str]:
    """The nodes whose calls are traced."""
    return [] if ir is None else [node.id for node in ir.nodes if node.type in TRACED]


def trace_of(traced: Traced, config: Mapping[str, Any], error: ErrorInfo | None, ms: int) -> Trace:
    """config: of its node. ms: of the attempt."""
    return Trace(
        tool=traced.tool or config.get("tool"),
        arguments=traced.arguments,
        result=traced.result,
        error=None if error is None or traced.has_result else ToolError(type=error.type, message=error.message),
        duration_ms=ms,
    )
