"""Ends: how a run may end, by the reason that it has then. Pure."""

from __future__ import annotations

from ..events import Facts
from ..marking.marking import Corrupt

FINAL = {
    "run.completed": "COMPLETED",
    "run.failed": "FAILED",
    "run.cancelled": "CANCELLED",
    "run.timed_out": "TIMED_OUT",
}

ENDS: dict[str, frozenset[str]] = {
    "": frozenset({"run.completed"}),
    "cancelled": frozenset({"run.cancelled"}),
    "timed_out": frozenset({"run.timed_out"}),
    "expired": frozenset({"run.timed_out"}),
}
"""Any other reason is a failure."""
FAILED_END = frozenset({"run.failed"})


def check_end(reason: str, facts: Facts) -> None:
    """Raise Corrupt where a run ends otherwise than it must."""
    has_no_output = not reason and facts.error is not None and facts.error.type == "OUTPUT_ERROR"
    allowed = FAILED_END if has_no_output else ENDS.get(reason, FAILED_END)
    if facts.type not in allowed:
        raise Corrupt(f"the run ends otherwise, by the reason {reason!r}")
