"""Approvals as people see them: who is asked, since when, until when, and who was told besides. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..compiler.ir import Ir
from ..sdk.scopes import parse_scope_key, scope_text
from ..sdk.stores.approvals import PendingApproval
from .texts import age_text, duration_text, iso


@dataclass(frozen=True, kw_only=True)
class ApprovalView:
    """``scope``: as people read it. ``escalated_to``: None before."""

    run_id: str
    workflow: str
    step: str
    scope: str
    since: datetime
    expires_at: datetime | None
    escalated_at: datetime | None
    escalated_to: str | None

    @property
    def label(self) -> str:
        return f"{self.step} {self.scope}".strip()

    def to_json(self) -> dict[str, object]:
        return {
            "run_id": self.run_id,
            "workflow": self.workflow,
            "step": self.step,
            "scope": self.scope,
            "since": iso(self.since),
            "expires_at": iso(self.expires_at),
            "escalated_at": iso(self.escalated_at),
            "escalated_to": self.escalated_to,
        }


def approval_view(found: PendingApproval, ir: Ir | None) -> ApprovalView:
    """ir: None where it is not known; the scope is then as the log has it."""
    number = next((n for n, node in enumerate(ir.nodes) if node.id == found.node), None) if ir is not None else None
    scope, told = found.scope, ""
    if ir is not None and number is not None:
        scope = scope_text(ir, number, parse_scope_key(found.scope))
        approval = ir.nodes[number].approval
        told = approval.escalate_to if approval is not None and found.escalated_at is not None else ""
    return ApprovalView(
        run_id=found.run_id,
        workflow=found.workflow,
        step=found.node,
        scope=scope,
        since=found.asked_at,
        expires_at=found.expires_at,
        escalated_at=found.escalated_at,
        escalated_to=told or None,
    )


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
