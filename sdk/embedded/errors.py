"""What can go wrong with embedded servers, as one error with fields."""

from __future__ import annotations


class EmbeddedError(Exception):
    """The embedded servers cannot be found, started or stopped.

    code: lower-case words joined by ``_``, stable; hint: what the reader can do now.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message
