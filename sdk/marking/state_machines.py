"""State machines: which status may follow which, for a run and for one attempt of a step. Pure.

    run    PENDING -> RUNNING <-> WAITING, PAUSED          -> COMPLETED | FAILED | CANCELLED | TIMED_OUT
    step   PENDING -> READY -> RUNNING                     -> SUCCEEDED | FAILED | SKIPPED | CANCELLED
                      READY <-> WAITING <- RUNNING -> RETRYING -> READY

A final status is never left. An attempt never goes back: a retry is a new attempt (RETRYING, then READY again), so a
step is monotonic but for that. The names of older systems are accepted by ``stores.status``.
"""

from __future__ import annotations

from enum import StrEnum

from ..stores.status import RunStatus, StepStatus


class StepEvent(StrEnum):
    """What can happen to a step."""

    DEPENDENCIES_MET = "DEPENDENCIES_MET"
    SCHEDULED = "SCHEDULED"
    CLAIMED = "CLAIMED"
    COMPLETED = "COMPLETED"
    ERRORED = "ERRORED"
    RETRY_DUE = "RETRY_DUE"
    PARKED = "PARKED"
    APPROVED = "APPROVED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"


_R, _S, _E = RunStatus, StepStatus, StepEvent
_RUN_ENDS = frozenset({_R.COMPLETED, _R.FAILED, _R.CANCELLED, _R.TIMED_OUT})
_RUN_LIVES = frozenset({_R.RUNNING, _R.WAITING, _R.PAUSED})

RUN_MOVES: dict[RunStatus, frozenset[RunStatus]] = {
    _R.PENDING: frozenset({_R.RUNNING, _R.CANCELLED, _R.TIMED_OUT}),
    **{status: (_RUN_LIVES | _RUN_ENDS) - {status} for status in _RUN_LIVES},
    **{status: frozenset[RunStatus]() for status in _RUN_ENDS},
}

_STEP_MOVES: dict[tuple[StepStatus, StepEvent], StepStatus] = {
    (_S.PENDING, _E.DEPENDENCIES_MET): _S.READY,
    (_S.READY, _E.SCHEDULED): _S.READY,
    (_S.READY, _E.CLAIMED): _S.RUNNING,
    (_S.READY, _E.PARKED): _S.WAITING,
    (_S.RUNNING, _E.PARKED): _S.WAITING,
    (_S.WAITING, _E.APPROVED): _S.READY,
    (_S.RUNNING, _E.COMPLETED): _S.SUCCEEDED,
    (_S.RETRYING, _E.RETRY_DUE): _S.READY,
    (_S.PENDING, _E.SKIPPED): _S.SKIPPED,
    (_S.READY, _E.SKIPPED): _S.SKIPPED,
    (_S.WAITING, _E.SKIPPED): _S.SKIPPED,
}
_STEP_ENDS = frozenset({_S.SUCCEEDED, _S.FAILED, _S.SKIPPED, _S.CANCELLED})


class IllegalMove(ValueError):
    """The event cannot happen to a step in this status."""


def next_status(status: StepStatus, event: StepEvent, *, is_retriable: bool = False) -> StepStatus:
    """Return the status after ``event``. ``is_retriable``: of an error with attempts left. Raises IllegalMove."""
    if event is _E.CANCELLED and status not in _STEP_ENDS:
        return _S.CANCELLED
    if event is _E.ERRORED and status is _S.RUNNING:
        return _S.RETRYING if is_retriable else _S.FAILED
    following = _STEP_MOVES.get((status, event))
    if following is None:
        raise IllegalMove(f"{event} cannot happen to a step that is {status}")
    return following


def can_step_move(status: StepStatus, following: StepStatus) -> bool:
    """Whether some event leads a step from one status to the other."""
    for event in StepEvent:
        for is_retriable in (False, True):
            try:
                if next_status(status, event, is_retriable=is_retriable) is following:
                    return True
            except IllegalMove:
                continue
    return False


def can_run_move(status: RunStatus, following: RunStatus) -> bool:
    """Whether a run may go from one status to the other."""
    return following in RUN_MOVES[status]
