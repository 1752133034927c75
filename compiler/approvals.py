"""Approvals in a document: ``requires_approval`` of any node, and the config of a node of type ``approval``."""

from __future__ import annotations

from typing import cast

import msgspec

from .diagnostics import Path
from .durations import format_duration
from .findings import Findings
from .json_schema import read_json_schema
from .reading import missing_field, read_boolean, read_duration, read_fields, read_text, wrong_type
from .workflow import Approval, Json


def read_gate(value: Json, path: Path, findings: Findings) -> Approval | None:
    """True, false (none, whatever ``defaults`` says), or an object."""
    if isinstance(value, bool):
        return Approval() if value else None
    if isinstance(value, dict):
        return read_approval(cast("dict[str, Json]", value), path, findings)
    wrong_type(findings, path, "true, false or an object", value, "write true or false, without quotes")
    return None


def read_approval(value: dict[str, Json], path: Path, findings: Findings) -> Approval:
    """Without ``escalate_after`` it escalates at half of its time."""
    fields = read_fields(value, path, findings, _READERS)
    expires_ms: int | None = fields.get("expires")
    escalate_to: str = fields.get("escalate_to", "")
    escalate_ms: int | None = fields.get("escalate_after")
    if "escalate_to" not in fields and escalate_ms is not None:
        missing_field("escalate_to", path, findings, "say who is told then")
    elif "escalate_to" in fields and escalate_ms is None:
        if expires_ms is None:
            missing_field("escalate_after", path, findings, "say after how long, or when the approval expires")
        else:
            escalate_ms = max(1, expires_ms // 2)
    elif escalate_ms is not None and expires_ms is not None and escalate_ms >= expires_ms:
        message = f"the approval expires ({expires_ms} ms) before it escalates ({escalate_ms} ms)"
        findings.error("conflicting_fields", message, (*path, "escalate_after"), "let it escalate earlier")
    return Approval(
        form=fields.get("form"),
        expires_ms=expires_ms,
        escalate_to=escalate_to,
        escalate_ms=escalate_ms,
        separate_approver=fields.get("separate_approver", False) or msgspec.UNSET,
    )


def write_approval(approval: Approval) -> dict[str, Json]:
    """The fields as ``read_approval`` reads them; none where nothing was said."""
    written: dict[str, Json] = {}
    if approval.form is not None:
        written["form"] = approval.form
    if approval.expires_ms is not None:
        written["expires"] = format_duration(approval.expires_ms)
    if approval.escalate_ms is not None:
        written["escalate_to"] = approval.escalate_to
        written["escalate_after"] = format_duration(approval.escalate_ms)
    if approval.is_separate:
        written["separate_approver"] = True
    return written


def _time(value: Json, path: Path, findings: Findings) -> int:
    return read_duration(value, path, findings, low_ms=1)


def _person(value: Json, path: Path, findings: Findings) -> str:
    text = read_text(value, path, findings)
    if isinstance(value, str) and not text.strip():
        findings.error("missing_field", "escalate_to names nobody", path, "a person, a role or a group")
    return text


_READERS = {
    "form": read_json_schema,
    "expires": _time,
    "escalate_to": _person,
    "escalate_after": _time,
    "separate_approver": read_boolean,
}
