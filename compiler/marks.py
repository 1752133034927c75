"""Marks: where each key and value of a document stands in its text, as a tree of the document's shape.

Built only when a diagnostic needs a place, by a second reading of a text that is known to be well-formed.
"""

from __future__ import annotations

from .diagnostics import Path


class Mark:
    """One value: its place, the place of its key (that of the value where there is none), and what it holds.

    Lines and columns count from 1.
    """

    __slots__ = ("at", "fields", "items", "key_at")

    def __init__(self, at: tuple[int, int], key_at: tuple[int, int] | None = None) -> None:
        self.at = at
        self.key_at = key_at or at
        self.fields: dict[str, Mark] | None = None
        self.items: list[Mark] | None = None

    def find(self, path: Path) -> tuple[Mark, bool]:
        """The mark of the longest part of ``path`` that exists, and whether that is the whole path."""
        mark = self
        for step in path:
            below: Mark | None = None
            if isinstance(step, str):
                below = mark.fields.get(step) if mark.fields is not None else None
            elif mark.items is not None and 0 <= step < len(mark.items):
                below = mark.items[step]
            if below is None:
                return mark, False
            mark = below
        return mark, True
