"""Approvals: who is asked, since when, until when, and who was told besides. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...compiler.ir import Ir
from ...sdk.scopes import parse_scope_key, scope_text
from ...sdk.stores.approvals import PendingApproval
from ...sdk.stores.connection import iso_text
from ..wire.approvals import Approval
from ..wire.moments import moment


@dataclass(frozen=True, kw_only=True)
class ApprovalView:
    """``scope``: as people read it. ``escalated_to``: None before. ``form``: a JSON Schema."""

    run_id: str
    workflow: str
    step: str
    scope: str
    since: datetime
    expires_at: datetime | None
    escalated_at: datetime | None
    escalated_to: str | None
    form: dict[str, Any] | None = None

    @property
    def label(self) -> str:
        return f"{self.step} {self.scope}".strip()

    def to_wire(self) -> Approval:
        return Approval(
            run_id=self.run_id,
            workflow=self.workflow,
            step=self.step,
            scope=self.scope,
            since=iso_text(self.since),
            expires_at=moment(self.expires_at),
            escalated_at=moment(self.escalated_at),
            escalated_to=self.escalated_to,
            form=self.form,
        )


def approval_view(found: PendingApproval, ir: Ir | None) -> ApprovalView:
    """ir: None where it is not known; the scope is then as the log has it."""
    number = next((n for n, node in enumerate(ir.nodes) if node.id == found.node), None) if ir is not None else None
    scope, told, form = found.scope, "", None
    if ir is not None and number is not None:
        scope = scope_text(ir, number, parse_scope_key(found.scope))
        approval = ir.nodes[number].approval
        form = None if approval is None else approval.form
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
        form=form,
    )
