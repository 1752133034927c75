"""Normalize: a plain value in any dialect -> ``Workflow`` and everything that is wrong with it. Pure.

``normalize(to_document(workflow))`` gives the workflow again, whatever dialect it came from.
"""

from __future__ import annotations

from typing import cast

import msgspec

from .diagnostics import Diagnostic, Path, has_errors
from .dialects import TRANSLATORS, Dialect, detect
from .dialects.translation import Origin
from .document import to_document
from .findings import Findings
from .native import read_native
from .workflow import Json, Workflow

__all__ = ["Normalized", "normalize", "read_document", "to_document"]


class Normalized(msgspec.Struct, frozen=True):
    """``workflow``: None where there are errors. ``origin``: native path -> path in the document that was given.

    The paths of ``diagnostics`` are those of the document that was given.
    """

    workflow: Workflow | None
    diagnostics: list[Diagnostic]
    dialect: Dialect | None
    origin: Origin


def normalize(value: Json) -> tuple[Workflow | None, list[Diagnostic]]:
    """Read a document in any dialect, as plain JSON values."""
    read = read_document(value)
    return read.workflow, read.diagnostics


def read_document(value: Json) -> Normalized:
    """Like ``normalize``, and tells the dialect and the way back from native paths."""
    dialect = detect(value)
    findings = Findings()
    if not isinstance(value, dict) or dialect is None:
        hint = "begin with 'courante: 1', and name the steps under 'nodes:'"
        findings.error("unknown_dialect", "this is no workflow document", hint=hint)
        return Normalized(None, findings.all(), None, _unchanged)
    document = cast("dict[str, Json]", value)
    if _has_keyed_steps(document, findings):
        return Normalized(None, findings.all(), dialect, _unchanged)
    if dialect is Dialect.NATIVE:
        workflow = read_native(document, findings)
        return Normalized(workflow, findings.all(), dialect, _native_origin(document))
    translation = TRANSLATORS[dialect](document, findings)
    below = Findings()
    workflow = read_native(translation.document, below)
    placed = [msgspec.structs.replace(found, path=translation.origin(found.path)) for found in below.all()]
    diagnostics = findings.all() + placed
    return Normalized(None if has_errors(diagnostics) else workflow, diagnostics, dialect, translation.origin)


def _has_keyed_steps(document: dict[str, Json], findings: Findings) -> bool:
    """Whether steps stand under their ids instead of in a list; one finding, for all others would follow from it."""
    for name in ("nodes", "steps", "tasks"):
        steps = document.get(name)
        if isinstance(steps, dict):
            example = next(iter(cast("dict[str, Json]", steps)), "a")
            hint = f"write '- id: {example}' in place of '{example}:'"
            findings.error("wrong_type", f"{name} must be a list, not an object", (name,), hint)
            return True
    return False


def _unchanged(path: Path) -> Path:
    return path


def _native_origin(document: dict[str, Json]) -> Origin:
    """Paths of the analysis say ``rules`` on the node; in a conditional they stand in its config."""

    def origin(path: Path) -> Path:
        if len(path) > 2 and path[0] == "nodes" and path[2] in {"rules", "default", "mode"}:
            node = document["nodes"][path[1]]
            if path[2] not in node:
                return (*path[:2], "config", *path[2:])
        return path

    return origin
