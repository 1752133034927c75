"""``courante init`` and ``courante workflows``: register a file, see what is registered."""

from __future__ import annotations

import click
import msgspec
from click import style

from ...api.wire.workflows import workflow_page, workflow_registered, workflow_shown
from ...compiler.ir import Ir
from ...compiler.normalize import read_document
from ...compiler.workflow import Workflow
from ...sdk.stores import workflows as store
from ...sdk.stores.errors import UnknownWorkflow
from ...sdk.stores.workflows import WorkflowSummary, WorkflowVersion
from ..call import Call, service_options, with_call
from ..documents import Document, compile_file, dependencies, show_diagnostic
from ..paging import page_options
from ..run_view import utc_now
from ..services import Services, connected_client, database, open_services, run_async
from ..texts import age_text, count_text


@click.command()
@click.argument("file")
@service_options
@with_call
def init(call: Call, file: str) -> None:
    """Register a workflow file; what changed becomes a new version.

    A file that has not changed keeps its version. Runs keep the version that they were started with.
    """
    call.log(default_level="warning")
    document = compile_file(file)
    workflow, ir = document.require(call.out)
    with open_services(call) as services:
        run_async(lambda: _register(call, services, document, workflow, ir))


async def _register(call: Call, services: Services, document: Document, workflow: Workflow, ir: Ir) -> None:
    async with connected_client(services) as client:
        registered = await client.register(workflow, ir, document.content)
    out = call.out
    out.json(msgspec.to_builtins(workflow_registered(registered)))
    for warning in registered.warnings:
        show_diagnostic(document.name, warning, out.note)
    word = "registered as" if registered.is_new else "has not changed: it is"
    out.text(f"{out.glyph('ok')} {registered.workflow} {word} version {registered.version}")
    counts = (count_text(len(workflow.nodes), "node"), count_text(len(workflow.edges), "dependency", "dependencies"))
    out.text(f"  {', '.join(counts)}, {count_text(document.phases, 'execution phase')}")
    out.next(f"courante run {registered.workflow}")


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
    call.log(default_level="warning")

    async def read(services: Services) -> list[WorkflowSummary]:
        async with database(services) as conn:
            return await store.list_workflows(conn, services.settings.env, limit=limit, after=after)

    with open_services(call) as services:
        found = run_async(lambda: read(services))
    call.out.json(msgspec.to_builtins(workflow_page(found, limit)))
    if not found:
        call.out.text("no workflows")
        call.out.next("courante init FILE")
        return
    now = utc_now()
    rows = [
        [
            one.id,
            str(one.latest),
            str(one.nodes),
            str(one.edges),
            age_text((now - one.updated_at).total_seconds()),
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
    call.log(default_level="warning")

    async def read(services: Services) -> tuple[list[WorkflowVersion], WorkflowVersion]:
        async with database(services) as conn:
            env = services.settings.env
            versions = await store.list_versions(conn, env, workflow_id)
            return versions, await store.get(conn, env, workflow_id, version)

    with open_services(call) as services:
        versions, chosen = run_async(lambda: read(services))
    _show(call, versions, chosen)


def _show(call: Call, versions: list[WorkflowVersion], chosen: WorkflowVersion) -> None:
    workflow = read_document(msgspec.json.decode(chosen.document)).workflow
    if workflow is None:
        raise UnknownWorkflow(chosen.workflow, chosen.version)
    told = dependencies(workflow)
    out = call.out
    out.json(msgspec.to_builtins(workflow_shown(chosen, versions, workflow)))
    if call.is_json:
        return
    name = f" ({chosen.name})" if chosen.name else ""
    out.text(f"{style(chosen.workflow, bold=True)}{name} version {chosen.version}")
    out.text(f"versions: {', '.join(str(v.version) for v in versions)}")
    out.text()
    out.table(["node", "type", "dependencies"], [[node.id, node.type, told[node.id]] for node in workflow.nodes])
    for change, steps in workflow.changes.items():
        out.text(f"change {change}: {', '.join(steps)}")
    out.text()
    out.next(f"courante run {chosen.workflow}")
