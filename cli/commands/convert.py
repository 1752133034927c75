"""``courante convert``: a workflow file in another form."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from ...compiler.document import to_document
from ...compiler.source import load_source
from ...compiler.workflow import Workflow
from ..call import Call, json_option, with_call
from ..documents import compile_file

FORMS = ("yaml", "json", "python")


@click.command()
@click.argument("file")
@click.option("--to", "form", type=click.Choice(FORMS), help="Left out: YAML for a file in Python, else Python.")
@json_option
@with_call
def convert(call: Call, file: str, form: str | None) -> None:
    """Print a workflow file as YAML, JSON or Python.

    YAML and JSON are of the native form; Python is what builds the workflow. FILE is YAML or JSON in any of the
    dialects, or Python. Every form compiles to the same IR.
    """
    workflow, _ = compile_file(file).require(call.out)
    form = form or ("yaml" if file.endswith(".py") else "python")
    text = write_workflow(workflow, form)
    call.out.json({"workflow": workflow.id, "form": form, "text": text})
    if not call.is_json:
        click.echo(text, nl=False)


def write_workflow(workflow: Workflow, form: str) -> str:
    """Return a workflow as text, one of ``FORMS``, with a line break at its end."""
    if form == "python":
        from ...sdk.authoring.flow_text import flow_text

        return flow_text(workflow)
    document = to_document(workflow)
    if form == "yaml":
        return _yaml(document)
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _yaml(document: dict[str, Any]) -> str:
    """YAML that is read as it was meant: PyYAML writes that of another version, in which some texts need no quotes."""
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)
    if load_source(text).value == document:
        return text
    return str(yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True, default_style='"'))
