"""User errors: what a step raises to say itself whether another try would help.

Any other exception is judged by its type: see ``failures`` and docs/reference/errors.md. All can be pickled.
"""

from __future__ import annotations


class FatalError(Exception):
    """The step fails for good: trying again would not help."""


class RetryableError(Exception):
    """The step may succeed when it is tried again. ``retry_after_s``: not before so many seconds have passed."""

    def __init__(self, message: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return str(self.args[0])


class HttpError(Exception):
    """A service answered with an error. ``retry_after``: seconds, or the text of its header, a date too.

    408, 425, 429 and 5xx are tried again, every other status is not. Raises ValueError for what is no status.
    ``response``: what was answered, where it is at hand; the Retry-After and Date of its ``headers`` count.
    """

    response: object = None

    def __init__(self, status: int, message: str = "", retry_after: float | str | None = None) -> None:
        if not 100 <= status <= 599:
            raise ValueError(f"{status!r} is no HTTP status")
        super().__init__(status, message, retry_after)
        self.status = status
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.args[1]}" if self.args[1] else f"HTTP {self.status}"
