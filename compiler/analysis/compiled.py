"""From a document that was read to the IR, or to everything that is wrong with it."""

from __future__ import annotations

import msgspec

from ..diagnostics import Diagnostic, Severity, has_errors
from ..ir import Ir
from ..normalize import Normalized
from ..source import KEY_CODES
from .build import compile_workflow, find_faults


def compile_document(read: Normalized) -> tuple[Ir | None, list[Diagnostic]]:
    """Return the IR, or None and at least one error; with what was found on reading, by paths of the document.

    Of a document that is wrong, what could be read is analysed too, so that its faults come together; each is told
    once, and what could not be read is not judged again.
    """
    ir: Ir | None = None
    below: list[Diagnostic] = []
    if read.workflow is not None:
        ir, below = compile_workflow(read.workflow)
    elif read.draft is not None:
        below = find_faults(read.draft.workflow, read.draft.doubted)
    unread = {each.path for each in read.diagnostics if each.severity is Severity.ERROR and each.code not in KEY_CODES}
    placed = [msgspec.structs.replace(each, path=read.origin(each.path)) for each in below]
    found = [*read.diagnostics, *(each for each in placed if each.path not in unread)]
    found = list({(each.code, each.path, each.message): each for each in found}.values())
    return None if has_errors(found) else ir, found
