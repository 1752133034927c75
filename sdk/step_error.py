"""StepError: how the engine itself fails a step, with a code that docs/reference/errors.md lists."""

from __future__ import annotations


class StepError(Exception):
    """A node's own failure with a code. ``type`` is the error's type in the log."""

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type

    def __reduce__(self) -> tuple[type[StepError], tuple[str, str]]:
        return StepError, (self.type, str(self))
