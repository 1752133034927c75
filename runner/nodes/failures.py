"""Steps that the engine runs and that say what they do also say that they have failed, and why."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ...sdk.authoring.step_log import StepLog
from ...sdk.outcomes.outcomes import text_of
from ...sdk.outcomes.step_context import StepError


@contextmanager
def told_failures(log: StepLog) -> Generator[None]:
    """Say what is raised within, as the error of the attempt has it; one ended from outside says nothing."""
    try:
        yield
    except Exception as error:
        type_ = error.type if isinstance(error, StepError) else type(error).__name__
        log.line("failed", level="error", error=f"{type_}: {text_of(error)}")
        raise
