"""The error of a document that cannot be read at all."""

from __future__ import annotations

from .diagnostics import Diagnostic, Path


class SourceError(ValueError):
    """Holds every fault that was found, with its place. Nothing of the document is used."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        first = diagnostics[0]
        place = f"{first.line}:{first.column}: " if first.line else ""
        more = f" (and {len(diagnostics) - 1} more)" if len(diagnostics) > 1 else ""
        super().__init__(f"{place}{first.message}{more}")
        self.diagnostics = diagnostics

    @classmethod
    def of(
        cls, code: str, message: str, *, path: Path = (), hint: str = "", at: tuple[int, int] = (0, 0)
    ) -> SourceError:
        """An error with a single fault."""
        line, column = at
        return cls([Diagnostic(code=code, message=message, path=path, hint=hint, line=line, column=column)])
