"""``courante graph``: a workflow as a drawing, for Mermaid or Graphviz."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from ...api.reading.drawing import to_dot, to_mermaid
from ...compiler.normalize import read_document
from ...compiler.workflow import Workflow
from ..call import Call, service_options, with_call
from ..documents import STDIN, compile_file
from ..services import Services, database, open_services, run_async


@click.command()
@click.argument("target", metavar="FILE|ID")
@click.option("--format", "kind", type=click.Choice(["mermaid", "dot"]), default="mermaid", show_default=True)
@click.option("--version", type=int, metavar="N", help="Version of a registered workflow; left out: the latest.")
@service_options
@with_call
def graph(call: Call, target: str, kind: str, version: int | None) -> None:
    """Draw a workflow as Mermaid or DOT.

    Paste Mermaid into Markdown; make a picture of DOT with 'courante graph FILE --format dot | dot -Tsvg'. A file needs
    no server.
    """
    is_file = target == STDIN or "/" in target or target.endswith((".yaml", ".yml", ".json")) or Path(target).is_file()
    workflow = compile_file(target).require(call.out)[0] if is_file else _registered(call, target, version)
    text = to_mermaid(workflow) if kind == "mermaid" else to_dot(workflow)
    call.out.json({"format": kind, "text": text})
    call.out.text(text)


def _registered(call: Call, target: str, version: int | None) -> Workflow:
    from ...sdk.stores import workflows

    async def read(services: Services) -> bytes:
        async with database(services) as conn:
            return (await workflows.get(conn, services.settings.env, target, version)).document

    call.log(default_level="warning")
    with open_services(call) as services:
        content = run_async(lambda: read(services))
    workflow = read_document(msgspec.json.decode(content)).workflow
    assert workflow is not None, "a registered document was valid"
    return workflow
