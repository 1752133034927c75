"""Documents: a workflow file, read and compiled, with everything that is wrong with it and where."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from click import style

from ..compiler.analysis import compile_workflow
from ..compiler.diagnostics import Diagnostic, Severity, has_errors
from ..compiler.ir import Ir
from ..compiler.limits import TEXT_BYTES_MAX
from ..compiler.normalize import read_document
from ..compiler.source import Source, load_source, source_of
from ..compiler.source_error import SourceError
from ..compiler.workflow import EdgeKind, Workflow
from .exits import CliError, ExitCode
from .output import Output
from .texts import count_text

STDIN = "-"


@dataclass(frozen=True)
class Document:
    """``name``: as the user wrote it. ``workflow`` and ``ir`` are None where there are errors."""

    name: str
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

    def require(self, out: Output) -> tuple[Workflow, Ir]:
        """Return what was compiled; warnings go to stderr. Raises CliError, after telling every fault there."""
        for diagnostic in self.diagnostics:
            show_diagnostic(self.name, diagnostic, out.note)
        if self.workflow is None or self.ir is None:
            count = sum(d.severity is Severity.ERROR for d in self.diagnostics)
            first = next(d for d in self.diagnostics if d.severity is Severity.ERROR)
            message = (
                f"{place_of(self.name, first)}: {first.message}"
                if out.is_json
                else f"{self.name} has {count_text(count, 'error')}"
            )
            raise CliError(
                ExitCode.INVALID, "document_invalid", message, f"'courante validate {self.name}' lists every fault"
            )
        return self.workflow, self.ir


def compile_file(name: str) -> Document:
    """Read and compile a file, in Python too, or standard input for ``-``. Raises CliError where it cannot be read."""
    try:
        if name.endswith(".py"):
            from .flows import load_flow  # it runs the file

            source = source_of(load_flow(name).document)
            content = msgspec.json.encode(source.value)
        else:
            content = read_bytes(name, "workflow file")
            source = load_source(content, format="json" if name.endswith(".json") else None)
    except SourceError as error:
        return Document(name, b"", diagnostics=error.diagnostics)
    read = read_document(source.value)
    found = source.locate(read.diagnostics)
    if read.workflow is None or has_errors(found):
        return Document(name, content, diagnostics=_sorted(found))
    ir, below = compile_workflow(read.workflow)
    found += _placed(source, below, read.origin)
    return Document(name, content, read.workflow, None if has_errors(found) else ir, _sorted(found))


def read_bytes(name: str, what: str, bytes_max: int = TEXT_BYTES_MAX) -> bytes:
    """Return what a file holds, or standard input for ``-``; one byte more than allowed where it is too long.

    Raises CliError.
    """
    if name == STDIN:
        return sys.stdin.buffer.read(bytes_max + 1)
    try:
        with Path(name).open("rb") as file:
            return file.read(bytes_max + 1)
    except FileNotFoundError as cause:
        hint = f"the current directory is {Path.cwd()}"
        raise CliError(ExitCode.NOT_FOUND, "file_not_found", f"there is no {what} {name}", hint) from cause
    except OSError as cause:
        message = f"the {what} {name} cannot be read: {cause.strerror}"
        raise CliError(ExitCode.NOT_FOUND, "file_not_readable", message) from cause


def place_of(name: str, diagnostic: Diagnostic) -> str:
    """``file:line:column``, as editors and terminals make links of."""
    return f"{name}:{diagnostic.line}:{diagnostic.column}" if diagnostic.line else name


def show_diagnostic(name: str, diagnostic: Diagnostic, write: object) -> None:
    """Write one finding in one or two lines."""
    assert callable(write)
    colour = "red" if diagnostic.severity is Severity.ERROR else "yellow"
    word = style(str(diagnostic.severity), fg=colour, bold=True)
    write(f"{style(place_of(name, diagnostic), bold=True)}: {word}: {diagnostic.message} [{diagnostic.code}]")
    if diagnostic.hint:
        write(f"    {style('hint:', fg='cyan')} {diagnostic.hint}")


def dependencies(workflow: Workflow) -> dict[str, str]:
    """Per node, in order: ``(no dependencies)``, ``(depends on: a, b)`` and how else it is reached."""
    before: dict[str, list[str]] = {node.id: [] for node in workflow.nodes}
    after_error: dict[str, list[str]] = {node.id: [] for node in workflow.nodes}
    exhausted: dict[str, list[str]] = {node.id: [] for node in workflow.nodes}
    compensates = {node.compensate: node.id for node in workflow.nodes if node.compensate is not None}
    during: dict[str, list[str]] = {node.id: [] for node in workflow.nodes}
    kinds = {
        EdgeKind.NORMAL: before,
        EdgeKind.ERROR: after_error,
        EdgeKind.EXHAUSTED: exhausted,
        EdgeKind.MILESTONE: during,
    }
    for edge in workflow.edges:
        kinds[edge.kind][edge.target].append(edge.source)
    texts: dict[str, str] = {}
    for node in workflow.nodes:
        parts = [f"depends on: {', '.join(before[node.id])}"] if before[node.id] else []
        parts += [f"when it fails: {', '.join(after_error[node.id])}"] if after_error[node.id] else []
        parts += [f"when exhausted: {', '.join(exhausted[node.id])}"] if exhausted[node.id] else []
        parts += [f"only while it waits: {', '.join(during[node.id])}"] if during[node.id] else []
        parts += [f"compensates: {compensates[node.id]}"] if node.id in compensates else []
        texts[node.id] = f"({'; '.join(parts) or 'no dependencies'})"
    return texts


def _placed(source: Source, diagnostics: list[Diagnostic], origin: object) -> list[Diagnostic]:
    """Diagnostics of the analysis, with the paths and places of the document that was given."""
    assert callable(origin)
    return source.locate([msgspec.structs.replace(d, path=origin(d.path)) for d in diagnostics])


def _sorted(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    return sorted(diagnostics, key=lambda d: (d.severity is not Severity.ERROR, d.line, d.column))
