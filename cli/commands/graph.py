"""``courante graph``: a workflow as a drawing, for Mermaid or Graphviz."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from ...api.reading.workflows import draw, read_drawing
from ...api.wire.workflows import Drawing
from ..asking import look_up
from ..call import Call, service_options, with_call
from ..documents import STDIN, compile_file
from ..remote.paths import at


@click.command()
@click.argument("target", metavar="FILE|ID")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["mermaid", "dot"]),
    default="mermaid",
    show_default=True,
    help="Its language.",
)
@click.option("--version", type=int, metavar="N", help="Version of a registered workflow; left out: the latest.")
@service_options
@with_call
def graph(call: Call, target: str, kind: str, version: int | None) -> None:
    """Draw a workflow as Mermaid or DOT.

    Paste Mermaid into Markdown; make a picture of DOT with 'courante graph FILE --format dot | dot -Tsvg'. A file needs
    no server.
    """
    is_file = target == STDIN or "/" in target or target.endswith((".yaml", ".yml", ".json")) or Path(target).is_file()
    if is_file:
        drawn = draw(compile_file(target).require(call.out)[0], kind)
    else:
        drawn = look_up(
            call,
            lambda conn, env: read_drawing(conn, env, target, version, kind),
            lambda api: api.get(at("workflows", target, "graph"), Drawing, {"version": version, "format": kind}),
        )
    call.out.json(msgspec.to_builtins(drawn))
    call.out.text(drawn.text)
