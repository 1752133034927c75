"""``courante init`` and ``courante workflows``: register a file, see what is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec
from click import style

from ...api.reading.workflows import read_workflow, read_workflows
from ...api.wire.moments import at_of
from ...api.wire.workflows import WorkflowPage, WorkflowRegistered, WorkflowShown, workflow_registered
from ...compiler.ir import Ir
from ...compiler.workflow import Workflow
from ..asking import ask, look_up
from ..call import Call, service_options, with_call
from ..documents import Document, compile_file, dependencies, show_diagnostic
from ..output import Output
from ..paging import page_options
from ..remote.paths import at
from ..services import Services, connected_client
from ..texts import age_text, count_text
from ..views.run import utc_now

if TYPE_CHECKING:
    from ..remote.connection import Connection


@click.command()
@click.argument("file")
@service_options
@with_call
def init(call: Call, file: str) -> None:
    """Register a workflow file; what changed becomes a new version.

    A file that has not changed keeps its version. Runs keep the version that they were started with.
    """
    document = compile_file(file)
    workflow, ir = document.require(call.out)
    registered = ask(
        call,
        lambda services: _register(services, workflow, ir, document.content),
        lambda api: _register_over_api(api, document),
    )
    out = call.out
    out.json(msgspec.to_builtins(registered))
    for warning in registered.warnings:
        show_diagnostic(document.name, warning, out.note)
    word = "registered as" if registered.is_new else "has not changed: it is"
    out.text(f"{out.glyph('ok')} {registered.workflow} {word} version {registered.version}")
    counts = (count_text(len(workflow.nodes), "node"), count_text(len(workflow.edges), "dependency", "dependencies"))
    out.text(f"  {', '.join(counts)}, {count_text(document.phases, 'execution phase')}")
    out.next(f"courante run {registered.workflow}")


async def _register(services: Services, workflow: Workflow, ir: Ir, content: bytes) -> WorkflowRegistered:
    async with connected_client(services) as client:
        return workflow_registered(await client.register(workflow, ir, content))


async def _register_over_api(api: Connection, document: Document) -> WorkflowRegistered:
    from ..remote.running import register

    return await register(api, document)


@click.group()
@service_options
def workflows() -> None:
    """List registered workflows, or show one."""


@workflows.command("list")
@page_options
@service_options
@with_call
def list_(call: Call, limit: int, after: str) -> None:
    """List registered workflows by id."""
    page = look_up(
        call,
        lambda conn, env: read_workflows(conn, env, limit=limit, after=after),
        lambda api: api.get(at("workflows"), WorkflowPage, {"limit": limit, "after": after}),
    )
    call.out.json(msgspec.to_builtins(page))
    found = page.workflows
    if not found:
        call.out.text("no workflows")
        call.out.next("courante init FILE")
        return
    now = utc_now()
    rows = [
        [
            one.id,
            str(one.version),
            str(one.nodes),
            str(one.edges),
            age_text((now - at_of(one.updated_at)).total_seconds()),
            one.name,
        ]
        for one in found
    ]
    call.out.table(["workflow", "version", "nodes", "edges", "updated", "name"], rows)


@workflows.command("show")
@click.argument("workflow_id", metavar="ID")
@click.option("--version", type=int, metavar="N", help="Left out: the latest.")
@service_options
@with_call
def show(call: Call, workflow_id: str, version: int | None) -> None:
    """Show one workflow: its versions, and the nodes of one of them.

    Without --version the latest.
    """
    shown = look_up(
        call,
        lambda conn, env: read_workflow(conn, env, workflow_id, version),
        lambda api: api.get(at("workflows", workflow_id), WorkflowShown, {"version": version}),
    )
    call.out.json(msgspec.to_builtins(shown))
    if not call.is_json:
        _show(call.out, shown)


def _show(out: Output, shown: WorkflowShown) -> None:
    told = dependencies(shown)
    name = f" ({shown.name})" if shown.name else ""
    out.text(f"{style(shown.id, bold=True)}{name} version {shown.version}")
    out.text(f"versions: {', '.join(str(v.version) for v in shown.versions)}")
    out.text()
    out.table(["node", "type", "dependencies"], [[node.id, node.type, told[node.id]] for node in shown.nodes])
    for change, steps in shown.changes.items():
        out.text(f"change {change}: {', '.join(steps)}")
    out.text()
    out.next(f"courante run {shown.id}")
