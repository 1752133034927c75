"""Normalize: a plain value in any dialect -> ``Workflow`` and everything that is wrong with it. Pure.

``normalize(to_document(workflow))`` gives the workflow again, whatever dialect it came from.
"""

from __future__ import annotations

from typing import cast

import msgspec

from .diagnostics import Diagnostic, Path, Severity, has_errors
from .dialects import TRANSLATORS, Dialect, detect
from .dialects.translation import Origin
from .document import to_document
from .findings import Findings
from .native import Draft, read_native
from .workflow import Json, Workflow

__all__ = ["Normalized", "normalize", "read_document", "to_document"]


STEPS = (("nodes",), ("steps",), ("tasks",))
"""Where documents keep their steps."""


class Normalized(msgspec.Struct, frozen=True):
    """``workflow``: None where there are errors. ``origin``: native path -> path in the document that was given.

    The paths of ``diagnostics`` are those of the document that was given. ``draft``: what could be read of a document
    that is wrong, for the analysis to find what else is; None where there are no errors, or nothing could be read.
    """

    workflow: Workflow | None
    diagnostics: list[Diagnostic]
    dialect: Dialect | None
    origin: Origin
    draft: Draft | None = None


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
        draft = read_native(document, findings)
        return _normalized(draft, [], findings, dialect, _native_origin(document))
    translation = TRANSLATORS[dialect](document, findings)
    below = Findings()
    draft = read_native(translation.document, below)
    return _normalized(_doubtful(draft, findings), findings.all(), below, dialect, translation.origin)


def _normalized(
    draft: Draft | None, before: list[Diagnostic], findings: Findings, dialect: Dialect, origin: Origin
) -> Normalized:
    """before: what the translation has found, by paths of the document; findings: by native paths."""
    moved = findings.moved

    def place(path: Path) -> Path:
        lengths = range(len(path), 0, -1) if moved else ()
        known = next((length for length in lengths if path[:length] in moved), 0)
        return origin((*moved[path[:known]], *path[known:]) if known else path)

    found = [*before, *(msgspec.structs.replace(each, path=place(each.path)) for each in findings.all())]
    if draft is None or has_errors(found):
        return Normalized(None, found, dialect, place, draft)
    return Normalized(draft.workflow, found, dialect, place)


def _doubtful(draft: Draft | None, findings: Findings) -> Draft | None:
    """The draft of a translation; its nodes are those of the document, one by one. Other faults may be about any."""
    errors = [found.path for found in findings if found.severity is Severity.ERROR]
    if draft is None or not errors:
        return draft
    every = frozenset(range(len(draft.workflow.nodes)))
    seconds = {path[1] for path in errors if path[:1] in STEPS and len(path) > 1}
    numbers = {each for each in seconds if isinstance(each, int) and each in every}
    is_known = all(path[:1] in STEPS for path in errors)
    return msgspec.structs.replace(draft, doubted=draft.doubted | numbers if is_known else every)


def _has_keyed_steps(document: dict[str, Json], findings: Findings) -> bool:
    """Whether steps stand under their ids instead of in a list; one finding, for all others would follow from it."""
    for (name,) in STEPS:
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
