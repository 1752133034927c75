"""Status words of runs and steps: ours, and those of older systems that are accepted wherever a status is read."""

from __future__ import annotations

from enum import StrEnum

from .errors import BadFilter


class RunStatus(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def is_final(self) -> bool:
        return self in FINAL


class StepStatus(StrEnum):
    PENDING = "PENDING"
    READY = "READY"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    RETRYING = "RETRYING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"


FINAL = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.TIMED_OUT})

_RUN_ALIASES = {"SUCCESS": "COMPLETED", "SUCCEEDED": "COMPLETED", "CANCELED": "CANCELLED", "TIMEDOUT": "TIMED_OUT"}
_STEP_ALIASES = {
    "SUCCESS": "SUCCEEDED",
    "COMPLETED": "SUCCEEDED",
    "QUEUED": "READY",
    "BLOCKED": "WAITING",
    "CANCELED": "CANCELLED",
}


def run_status(word: str) -> RunStatus:
    """Read a status in any spelling that is in use. Raises BadFilter."""
    upper = word.strip().upper().replace("-", "_")
    try:
        return RunStatus(_RUN_ALIASES.get(upper, upper))
    except ValueError as cause:
        raise BadFilter("status", f"{word!r} is none of {', '.join(RunStatus)}") from cause


def step_status(word: str) -> StepStatus:
    """Read a status in any spelling that is in use. Raises BadFilter."""
    upper = word.strip().upper().replace("-", "_")
    try:
        return StepStatus(_STEP_ALIASES.get(upper, upper))
    except ValueError as cause:
        raise BadFilter("status", f"{word!r} is none of {', '.join(StepStatus)}") from cause
