"""Documents: a workflow file, read and compiled, with everything that is wrong with it and where."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from click import style

from ..api.reading.documents import Compiled, compile_source, compile_text
from ..api.wire.documents import Finding
from ..compiler.diagnostics import Diagnostic, Severity
from ..compiler.ir import Ir
from ..compiler.limits import TEXT_BYTES_MAX
from ..compiler.source import source_of
from ..compiler.source_error import SourceError
from ..compiler.workflow import EdgeKind, Workflow
from .exits import CliError, ExitCode
from .output import Output
from .texts import count_text

STDIN = "-"


@dataclass(frozen=True)
class Document:
    """``name``: as the user wrote it."""

    name: str
    compiled: Compiled

    @property
    def content(self) -> bytes:
        return self.compiled.content

    @property
    def workflow(self) -> Workflow | None:
        return self.compiled.workflow

    @property
    def ir(self) -> Ir | None:
        return self.compiled.ir

    @property
    def diagnostics(self) -> list[Diagnostic]:
        return self.compiled.diagnostics

    @property
    def is_valid(self) -> bool:
        return self.compiled.is_valid

    @property
    def phases(self) -> int:
        return self.compiled.phases

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
    if name.endswith(".py"):
        from .flows import load_flow  # it runs the file

        try:
            source = source_of(load_flow(name).document)
        except SourceError as error:
            return Document(name, Compiled(b"", diagnostics=error.diagnostics))
        return Document(name, compile_source(msgspec.json.encode(source.value), source))
    content = read_bytes(name, "workflow file")
    return Document(name, compile_text(content, "json" if name.endswith(".json") else None))


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


def place_of(name: str, diagnostic: Diagnostic | Finding) -> str:
    """``file:line:column``, as editors and terminals make links of."""
    return f"{name}:{diagnostic.line}:{diagnostic.column}" if diagnostic.line else name


def show_diagnostic(name: str, diagnostic: Diagnostic | Finding, write: object) -> None:
    """Write one finding in one or two lines."""
    assert callable(write)
    colour = "red" if diagnostic.severity is Severity.ERROR else "yellow"
    word = style(str(diagnostic.severity), fg=colour, bold=True)
    write(f"{style(place_of(name, diagnostic), bold=True)}: {word}: {diagnostic.message} [{diagnostic.code}]")
    if diagnostic.hint:
        write(f"    {style('hint:', fg='cyan')} {diagnostic.hint}")


class _Node(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def compensate(self) -> str | None: ...


class _Edge(Protocol):
    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def kind(self) -> str: ...


class Graph(Protocol):
    """A workflow, of a document or as it travels."""

    @property
    def nodes(self) -> Sequence[_Node]: ...
    @property
    def edges(self) -> Sequence[_Edge]: ...


def dependencies(workflow: Graph) -> dict[str, str]:
    """Per node, in order: ``(no dependencies)``, ``(depends on: a, b)`` and how else it is reached."""
    before: dict[str, list[str]] = {node.id: [] for node in workflow.nodes}
    after_error: dict[str, list[str]] = {node.id: [] for node in workflow.nodes}
    exhausted: dict[str, list[str]] = {node.id: [] for node in workflow.nodes}
    compensates = {node.compensate: node.id for node in workflow.nodes if node.compensate is not None}
    during: dict[str, list[str]] = {node.id: [] for node in workflow.nodes}
    kinds: dict[str, dict[str, list[str]]] = {
        EdgeKind.NORMAL: before,
        EdgeKind.ERROR: after_error,
        EdgeKind.EXHAUSTED: exhausted,
        EdgeKind.MILESTONE: during,
    }
    for edge in workflow.edges:
        if edge.kind in kinds:
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
