"""What a step is told of its child run's end."""

from __future__ import annotations

from courante.sdk.events import ErrorInfo
from courante.sdk.outcomes.subflows import ERROR_CHARS_MAX, told_of


def test_what_went_wrong_at_first_is_told_however_many_runs_stand_above_it() -> None:
    """A long text lacks its middle."""
    message = "32 runs stand above it; at most 31 may"
    for number in range(32):
        error = ErrorInfo(type="SUBFLOW_FAILED", message=f"run_{number:026}: {message}", node="step")
        message = told_of(error, "FAILED")
        assert len(message) <= ERROR_CHARS_MAX
    assert message.startswith("step step: SUBFLOW_FAILED: run_00000000000000000000000031: step")
    assert message.endswith("run_00000000000000000000000000: 32 runs stand above it; at most 31 may")
    assert message.count(" ... ") == 1
