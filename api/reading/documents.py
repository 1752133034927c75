"""Documents: the text of a workflow, read and compiled, with everything that is wrong with it and where. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from ...compiler.analysis import compile_document
from ...compiler.diagnostics import Diagnostic, Severity
from ...compiler.ir import Ir
from ...compiler.normalize import read_document
from ...compiler.source import Format, Source, read_source
from ...compiler.source_error import SourceError
from ...compiler.workflow import Workflow
from ...sdk.stores.errors import UnknownWorkflow
from ...sdk.stores.workflows import WorkflowVersion


@dataclass(frozen=True)
class Compiled:
    """``content``: as it was handed in. ``workflow`` and ``ir`` are None where there are errors."""

    content: bytes
    workflow: Workflow | None = None
    ir: Ir | None = None
    diagnostics: list[Diagnostic] = field(default_factory=lambda: [])

    @property
    def is_valid(self) -> bool:
        return self.ir is not None

    @property
    def phases(self) -> int:
        return 0 if self.ir is None else max((node.phase for node in self.ir.nodes if not node.is_gate), default=-1) + 1


def compile_text(content: bytes, format: Format | None = None) -> Compiled:
    """Compile a document that is text. format: None where it is not known, see ``load_source``."""
    try:
        source, error = read_source(content, format=format)
    except SourceError as unreadable:
        return Compiled(content, diagnostics=unreadable.diagnostics)
    compiled = compile_source(content, source)
    if error is None:
        return compiled
    return Compiled(content, diagnostics=_sorted([*error.diagnostics, *compiled.diagnostics]))


def compile_source(content: bytes, source: Source) -> Compiled:
    """Compile a document that was read."""
    read = read_document(source.value)
    ir, found = compile_document(read)
    return Compiled(content, read.workflow, ir, _sorted(source.locate(found)))


def read_version(found: WorkflowVersion) -> Workflow:
    """Return what a registered version says. Raises UnknownWorkflow for one that this version cannot read."""
    workflow = read_document(msgspec.json.decode(found.document)).workflow
    if workflow is None:
        raise UnknownWorkflow(found.workflow, found.version)
    return workflow


def _sorted(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    return sorted(diagnostics, key=lambda each: (each.severity is not Severity.ERROR, each.line, each.column))
