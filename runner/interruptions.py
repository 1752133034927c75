"""Interruptions: a KeyboardInterrupt that user code raises is an error of its attempt.

Signals are caught where a worker runs, so nobody wants that to end. Let through, it would end the event loop.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ..sdk.user_errors import RetryableError


@contextmanager
def interrupts_nobody_else(what: str) -> Generator[None]:
    """what: whose code runs within, for people. Raises RetryableError in place of KeyboardInterrupt."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise RetryableError(f"{what} has raised KeyboardInterrupt") from error
