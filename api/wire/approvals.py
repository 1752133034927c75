"""Steps that wait for somebody to decide, and what was decided, as they travel."""

from __future__ import annotations

from typing import Any

import msgspec

from .moments import Moment


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A step that asks. ``form``: the JSON Schema of what is to be filled in, null where nothing is.

    ``separate_approver``: who has started the run may not decide.
    """

    run_id: str
    workflow: str
    step: str
    scope: str
    since: Moment
    expires_at: Moment | None
    escalated_at: Moment | None
    escalated_to: str | None
    form: dict[str, Any] | None
    separate_approver: bool


class ApprovalPage(msgspec.Struct, frozen=True, kw_only=True):
    """Those that have waited longest come first."""

    approvals: list[Approval]
