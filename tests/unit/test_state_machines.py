"""Which status may follow which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.marking.state_machines import IllegalMove, StepEvent, can_run_move, can_step_move, next_status
from courante.sdk.stores.status import RunStatus, StepStatus

STEP_ENDS = {StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED}


@pytest.mark.parametrize(
    ("status", "event", "following"),
    [
        (StepStatus.PENDING, StepEvent.DEPENDENCIES_MET, StepStatus.READY),
        (StepStatus.READY, StepEvent.CLAIMED, StepStatus.RUNNING),
        (StepStatus.READY, StepEvent.PARKED, StepStatus.WAITING),
        (StepStatus.WAITING, StepEvent.APPROVED, StepStatus.READY),
        (StepStatus.RUNNING, StepEvent.COMPLETED, StepStatus.SUCCEEDED),
        (StepStatus.RUNNING, StepEvent.ERRORED, StepStatus.FAILED),
        (StepStatus.RETRYING, StepEvent.RETRY_DUE, StepStatus.READY),
    ],
)
def test_step_moves(status: StepStatus, event: StepEvent, following: StepStatus) -> None:
    """A step goes the documented way."""
    assert next_status(status, event) is following


def test_a_retriable_error_is_retried() -> None:
    """An error with attempts left makes a step RETRYING, not FAILED."""
    assert next_status(StepStatus.RUNNING, StepEvent.ERRORED, is_retriable=True) is StepStatus.RETRYING


@given(st.sampled_from(sorted(STEP_ENDS)), st.sampled_from(StepEvent), st.booleans())
def test_nothing_leaves_a_final_status(status: StepStatus, event: StepEvent, is_retriable: bool) -> None:
    """No event moves a step that has ended."""
    with pytest.raises(IllegalMove):
        next_status(status, event, is_retriable=is_retriable)


@pytest.mark.parametrize("status", [s for s in StepStatus if s not in STEP_ENDS])
def test_whatever_lives_can_be_cancelled(status: StepStatus) -> None:
    """Any status that is not final may go to CANCELLED."""
    assert next_status(status, StepEvent.CANCELLED) is StepStatus.CANCELLED


def test_steps_never_go_back() -> None:
    """RUNNING never becomes PENDING, and a step that failed is never READY again."""
    assert not can_step_move(StepStatus.RUNNING, StepStatus.PENDING)
    assert not can_step_move(StepStatus.FAILED, StepStatus.READY)
    assert can_step_move(StepStatus.RUNNING, StepStatus.RETRYING)


def test_run_moves() -> None:
    """A run starts PENDING, ends once, and stays ended."""
    assert can_run_move(RunStatus.PENDING, RunStatus.RUNNING)
    assert can_run_move(RunStatus.RUNNING, RunStatus.COMPLETED)
    assert can_run_move(RunStatus.WAITING, RunStatus.RUNNING)
    assert not can_run_move(RunStatus.PENDING, RunStatus.COMPLETED)
    assert not any(can_run_move(RunStatus.FAILED, following) for following in RunStatus)
