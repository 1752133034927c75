"""Approvals as people see them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from msgspec import UNSET

from ...api.wire.approvals import Approval
from ...api.wire.inputs import StepGiven
from ...api.wire.moments import at_of
from ..texts import age_text, cut_lines, duration_text, json_lines, list_text, printable

ABOUT_LINES_MAX = 40


def label_of(approval: Approval) -> str:
    return f"{approval.step} {approval.scope}".strip()


def asked_text(approval: Approval, now: datetime) -> str:
    return age_text((now - at_of(approval.since)).total_seconds())


def expiry_text(approval: Approval, now: datetime) -> str:
    """``in 3h 5m``, ``never``, or ``overdue``."""
    if approval.expires_at is None:
        return "never"
    left = (at_of(approval.expires_at) - now).total_seconds()
    return f"in {duration_text(left)}" if left > 0 else "overdue"


def deciders_text(approval: Approval) -> str:
    return "anybody but who has started the run" if approval.separate_approver else "anybody"


def asking_line(approval: Approval, now: datetime) -> str:
    """``review: asked 2 minutes ago, expires in 3h 5m, escalated to ops``."""
    words = [f"{label_of(approval)}: asked {asked_text(approval, now)}"]
    words += [f"expires {expiry_text(approval, now)}"] if approval.expires_at is not None else []
    words += ["not by who has started the run"] if approval.separate_approver else []
    words += [f"escalated to {approval.escalated_to}"] if approval.escalated_to else []
    return ", ".join(words)


def about_lines(approval: Approval, given: StepGiven | str) -> Iterator[str]:
    """What is decided about: the workflow, what the step was given, and what its form asks for.

    given: or why nobody can tell.
    """
    yield f"{approval.workflow}: {label_of(approval)}"
    if isinstance(given, str):
        yield f"its input cannot be shown: {printable(given)}"
    elif given.input is not UNSET:
        yield cut_lines(printable(json_lines(given.input)), ABOUT_LINES_MAX)
    elif given.reason:
        yield f"its input: {given.reason}"
    fields: dict[str, object] = (approval.form or {}).get("properties") or {}
    if fields:
        yield f"--data asks for: {printable(list_text(list(fields)))}"
