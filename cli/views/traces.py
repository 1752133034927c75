"""Traces as people see them: which tool was called with what, what it gave, and how long that took. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from click import style

from ...api.wire.traces import Trace
from ..texts import count_text, cut, duration_text

LINES_MAX = 20
VALUE_CHARS_MAX = 300


def trace_lines(traces: Sequence[tuple[str, Trace]], width: int) -> list[str]:
    """A line for each call, the last ones where there are too many. traces: with the names of their steps."""
    shown = traces[-LINES_MAX:]
    lines = [_line(label, trace, width) for label, trace in shown]
    if len(traces) > len(shown):
        lines.insert(0, style(f"  and {count_text(len(traces) - len(shown), 'call')} before", dim=True))
    return lines


def _line(label: str, trace: Trace, width: int) -> str:
    error = trace.error
    ended = f"failed: {error.type}: {error.message}" if error is not None else _short(trace.result)
    took = duration_text(trace.duration_ms / 1000)
    text = f"{trace.tool}({_short(trace.arguments)}) = {ended}"
    head = f"{label}  {took}  "
    return f"{style('call:', bold=True)} {head}{style(cut(text, max(0, width - len(head) - 6)), dim=True)}"


def _short(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:VALUE_CHARS_MAX]
