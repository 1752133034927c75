"""Approvals: who is asked, since when, until when, and who was told besides."""

from __future__ import annotations

from ...compiler.ir import Ir, decode_ir
from ...sdk.marking.scopes import parse_scope_key, scope_text
from ...sdk.moments import iso_text
from ...sdk.stores.approvals import PendingApproval, list_approvals
from ...sdk.stores.connection import Connection
from ...sdk.stores.workflows import get_ir
from ..wire.approvals import Approval, ApprovalPage
from ..wire.moments import moment


async def read_approvals(
    conn: Connection, env: str, *, workflow: str | None = None, run_id: str | None = None, limit: int = 100
) -> ApprovalPage:
    """Return the steps that wait for somebody to decide."""
    found = await list_approvals(conn, env, workflow=workflow, run_id=run_id, limit=limit)
    irs: dict[str, Ir | None] = {}
    for each in found:
        if each.ir_hash not in irs:
            content = await get_ir(conn, env, each.ir_hash)
            irs[each.ir_hash] = None if content is None else decode_ir(content)
    return ApprovalPage(approvals=[approval_of(each, irs[each.ir_hash]) for each in found])


def approval_of(found: PendingApproval, ir: Ir | None) -> Approval:
    """ir: None where it is not known; the scope is then as the log has it."""
    number = next((n for n, node in enumerate(ir.nodes) if node.id == found.node), None) if ir is not None else None
    scope, told, form, is_separate = found.scope, "", None, False
    if ir is not None and number is not None:
        scope = scope_text(ir, number, parse_scope_key(found.scope))
        approval = ir.nodes[number].approval
        form = None if approval is None else approval.form
        is_separate = approval is not None and approval.is_separate
        told = approval.escalate_to if approval is not None and found.escalated_at is not None else ""
    return Approval(
        run_id=found.run_id,
        workflow=found.workflow,
        step=found.node,
        scope=scope,
        since=iso_text(found.asked_at),
        expires_at=moment(found.expires_at),
        escalated_at=moment(found.escalated_at),
        escalated_to=told or None,
        form=form,
        separate_approver=is_separate,
    )
