"""``courante validate``: everything that is wrong with a file, at once, each with its place and what to do."""

from __future__ import annotations

import click
import msgspec
from click import style

from ...api.wire.documents import validated
from ...compiler.diagnostics import Severity
from ..call import Call, json_option, with_call
from ..documents import Document, compile_file, dependencies, show_diagnostic
from ..exits import ExitCode
from ..texts import count_text


@click.command()
@click.argument("file")
@json_option
@with_call
def validate(call: Call, file: str) -> int:
    """Check a workflow file and say everything that is wrong with it.

    FILE is YAML or JSON in any of the dialects; '-' reads standard input. Nothing is registered and no server is
    needed. Exits with 1 where there is an error; warnings alone are fine.
    """
    document = compile_file(file)
    call.out.json(msgspec.to_builtins(validated(document.compiled)))
    if not call.is_json:
        _show(call, document)
    return ExitCode.OK if document.is_valid else ExitCode.INVALID


def _show(call: Call, document: Document) -> None:
    out = call.out
    for diagnostic in document.diagnostics:
        show_diagnostic(document.name, diagnostic, out.text)
    if document.diagnostics:
        out.text()
    workflow = document.workflow
    if workflow is None or not document.is_valid:
        errors = sum(d.severity is Severity.ERROR for d in document.diagnostics)
        warnings = len(document.diagnostics) - errors
        more = f" and {count_text(warnings, 'warning')}" if warnings else ""
        out.text(f"{out.glyph('error')} {document.name}: {count_text(errors, 'error')}{more}")
        return
    out.text(f"{out.glyph('ok')} {workflow.id} is valid")
    out.text()
    out.text(f"{style('Nodes:', bold=True)} {len(workflow.nodes):,}")
    for name, told in dependencies(workflow).items():
        out.text(f"  - {name} {style(told, dim=True)}")
    out.text(f"{style('Dependencies:', bold=True)} {len(workflow.edges):,}")
    out.text(f"{style('Execution phases:', bold=True)} {document.phases:,}")
    out.text()
    out.next(f"courante run {document.name}" if document.name != "-" else "courante run FILE")
