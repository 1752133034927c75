"""Shown text: what may be shown of an answer that is still being told, with secrets masked that come in pieces.

What was shown cannot be taken back. So the last word waits until it is complete, and so does what may be the beginning
of a known secret; and each piece is masked together with what stands before it.
"""

from __future__ import annotations

from ..sdk.secrets.redaction import Redactor

WINDOW_CHARS = 4_096
"""How much of what was shown is looked at again. No shape of a secret is longer, but for what is a word."""
WORD_CHARS_MAX = 2_048
"""What has no space for longer than this is shown but for its end."""


class ShownText:
    """The text of one attempt, piece by piece. Touched by one thread at a time."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._waiting = self._window = self._shown = ""

    def add(self, text: str) -> None:
        self._waiting += text

    def take(self, *, is_last: bool = False) -> str:
        """Return the next piece to show; nothing where more has to come first. is_last: nothing comes any more."""
        waiting, self._waiting = self._waiting, ""
        starts = range(0, len(waiting), WINDOW_CHARS)
        pieces = [self._take(waiting[start : start + WINDOW_CHARS], is_last=False) for start in starts]
        return "".join(pieces) + (self._take("", is_last=True) if is_last else "")

    def _take(self, more: str, *, is_last: bool) -> str:
        self._window += more
        end = len(self._window) if is_last else self._settled_chars()
        masked = self._redactor.redact(self._window[:end])
        piece = masked[_common_chars(self._shown, masked) :]
        self._shown = masked
        if len(self._window) > 2 * WINDOW_CHARS:
            self._slide(end)
        return piece

    def _settled_chars(self) -> int:
        """How much of the window ends with a word, and not in the middle of a secret that has several."""
        text = self._window
        end = max(text.rfind(" "), text.rfind("\n")) + 1
        end = max(end, len(text) - WORD_CHARS_MAX)
        while end and (begun := self._redactor.begun_chars(text[:end])):
            end -= begun
        return end

    def _slide(self, end: int) -> None:
        """Forget what stands far before the end, up to a line or a word."""
        least = max(0, end - WINDOW_CHARS)
        start = max(self._window.rfind("\n", 0, least), self._window.rfind(" ", 0, least)) + 1 or least
        self._window = self._window[start:]
        self._shown = self._redactor.redact(self._window[: end - start])


def _common_chars(first: str, second: str) -> int:
    """How many characters two texts have in common at their beginning."""
    if second.startswith(first):
        return len(first)
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))
