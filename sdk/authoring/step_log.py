"""The step log: what one attempt of a step says while it is under way, for people to read.

Lines are told in order; partial text is what a model has said of its answer until now, piece by piece. Both are hints:
no event, no part of the run's state, and they may be lost with the worker or with Redis.
"""

from __future__ import annotations

from typing import Protocol


class StepLog(Protocol):
    """Where an attempt says what it does. Never waits, never raises; from any thread."""

    def line(self, text: str, /, **fields: object) -> None:
        """Say one line. fields: JSON values that belong to it, by name."""
        ...

    def partial(self, text: str, /) -> None:
        """Show the next piece of an answer that is not complete yet. The pieces joined are the answer until now."""
        ...


class NoLog:
    """The step log of nobody."""

    __slots__ = ()

    def line(self, text: str, /, **fields: object) -> None:
        del text, fields

    def partial(self, text: str, /) -> None:
        del text


NO_LOG: StepLog = NoLog()
