"""Approvals as people see them. Pure."""

from __future__ import annotations

from datetime import datetime

from ..api.reading.approvals import ApprovalView
from .texts import age_text, duration_text


def expiry_text(view: ApprovalView, now: datetime) -> str:
    """``in 3h 5m``, ``never``, or ``overdue``."""
    if view.expires_at is None:
        return "never"
    left = (view.expires_at - now).total_seconds()
    return f"in {duration_text(left)}" if left > 0 else "overdue"


def asking_line(view: ApprovalView, now: datetime) -> str:
    """``review: asked 2 minutes ago, expires in 3h 5m, escalated to ops``."""
    words = [f"{view.label}: asked {age_text((now - view.since).total_seconds())}"]
    words += [f"expires {expiry_text(view, now)}"] if view.expires_at is not None else []
    words += [f"escalated to {view.escalated_to}"] if view.escalated_to else []
    return ", ".join(words)
