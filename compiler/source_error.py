"""The error of a document that cannot be read at all."""

from __future__ import annotations

from .diagnostics import Diagnostic, Path
from .workflow import Json

READABLE = frozenset({"duplicate_key", "yaml_tag"})
"""Faults that leave no doubt about what all the rest of a text says."""


class SourceError(ValueError):
    """Holds every fault that was found, with its place. Nothing of the document is used.

    ``value``: what the text says, where it can still be told, for more of its faults to be found; else None.
    """

    def __init__(self, diagnostics: list[Diagnostic], value: Json = None) -> None:
        first = diagnostics[0]
        place = f"{first.line}:{first.column}: " if first.line else ""
        more = f" (and {len(diagnostics) - 1} more)" if len(diagnostics) > 1 else ""
        super().__init__(f"{place}{first.message}{more}")
        self.diagnostics = diagnostics
        self.value = value if all(each.code in READABLE for each in diagnostics) else None

    @classmethod
    def of(
        cls, code: str, message: str, *, path: Path = (), hint: str = "", at: tuple[int, int] = (0, 0)
    ) -> SourceError:
        """An error with a single fault."""
        line, column = at
        return cls([Diagnostic(code=code, message=message, path=path, hint=hint, line=line, column=column)])
