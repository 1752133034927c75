"""``courante approve``, ``reject`` and ``approvals``: a person's word about a step that waits for one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ...api.reading.approvals import ApprovalView, approval_view
from ...api.wire.approvals import ApprovalPage
from ...compiler.ir import Ir, decode_ir
from ...sdk.stores.approvals import list_approvals
from ...sdk.stores.commands import find_run
from ...sdk.stores.workflows import get_ir
from ..actors import by_option
from ..approvals_view import expiry_text
from ..call import Call, service_options, with_call
from ..commanded import data_option, scope_option, tell
from ..exits import CliError, ExitCode
from ..run_view import utc_now
from ..services import Services, connected_client, database, open_services, run_async
from ..texts import age_text

if TYPE_CHECKING:
    from ...sdk.deciding import StepCommanded

WORDS = {"approve": "approved", "reject": "rejected"}


def _decision(kind: str, help: str) -> click.Command:
    """``approve`` and ``reject`` differ in a word."""

    @click.command(kind, help=help)
    @click.argument("run_id", metavar="RUN")
    @click.argument("step", required=False)
    @click.option("--yes", is_flag=True, help="Do not ask; a pipe and --json are never asked.")
    @click.option("--reason", default="", metavar="TEXT", help="Why; it is kept in the log.")
    @click.option("--comment", default="", metavar="TEXT", help="A word for whoever reads the decision.")
    @data_option("What the step's form asks for.")
    @scope_option
    @by_option
    @service_options
    @with_call
    def decide(
        call: Call,
        run_id: str,
        step: str | None,
        yes: bool,
        reason: str,
        comment: str,
        data: Any,
        scope: str,
        by: str | None,
    ) -> None:
        async def give() -> StepCommanded:
            async with connected_client(services) as client:
                decide = client.approve if kind == "approve" else client.reject
                return await decide(run_id, step, scope=scope, comment=comment, reason=reason, data=data, by=by)

        call.log(default_level="warning")
        with open_services(call) as services:
            if not yes and not call.is_json and sys.stdin.isatty():
                _confirm(kind, run_id, step, scope, run_async(lambda: _asking(services, run_id)))
            done = run_async(give)
        shown = f"{f'{done.step} {done.scope}'.strip()} of {run_id}"
        more = {"step": done.step, "scope": done.scope, "decision": kind, "by": by}
        tell(call, done, f"{shown} is {WORDS[kind]}{f' by {by}' if by else ''}", more)

    return decide


approve = _decision(
    "approve",
    """Let a step go on that waits for a decision.

    STEP is only needed where several wait, or to decide before the step asks. The first decision stands; who comes
    second is told who was first.
    """,
)
reject = _decision(
    "reject",
    """Let a step fail that waits for a decision.

    It fails with REJECTED and is not tried again. STEP is only needed where several wait, or to decide before the step
    asks. The first decision stands.
    """,
)


@click.command()
@click.option("--workflow", metavar="ID", help="Only of runs of this workflow.")
@click.option("--run", "run_id", metavar="RUN", help="Only of this run.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, metavar="N", help="At most so many."
)
@service_options
@with_call
def approvals(call: Call, workflow: str | None, run_id: str | None, limit: int) -> None:
    """List the steps that wait for somebody to decide.

    Those that have waited longest come first.
    """
    call.log(default_level="warning")
    with open_services(call) as services:
        found = run_async(lambda: _read(services, workflow=workflow, run_id=run_id, limit=limit))
    call.out.json(msgspec.to_builtins(ApprovalPage(approvals=[view.to_wire() for view in found])))
    if not found:
        call.out.text("nothing waits for a decision")
        return
    now = utc_now()
    rows = [
        [
            view.run_id,
            view.workflow,
            view.label,
            age_text((now - view.since).total_seconds()),
            expiry_text(view, now),
            view.escalated_to or "",
        ]
        for view in found
    ]
    call.out.table(["run", "workflow", "step", "asked", "expires", "escalated to"], rows)
    call.out.next(f"courante approve {found[0].run_id} {found[0].step}")


async def _asking(services: Services, run_id: str) -> list[ApprovalView]:
    """What a run waits for. Raises UnknownRun: nobody is asked about a run that is not there."""
    async with database(services) as conn:
        await find_run(conn, services.settings.env, run_id)
    return await _read(services, run_id=run_id)


async def _read(
    services: Services, *, workflow: str | None = None, run_id: str | None = None, limit: int = 100
) -> list[ApprovalView]:
    env = services.settings.env
    async with database(services) as conn:
        found = await list_approvals(conn, env, workflow=workflow, run_id=run_id, limit=limit)
        irs: dict[str, Ir | None] = {}
        for each in found:
            if each.ir_hash not in irs:
                content = await get_ir(conn, env, each.ir_hash)
                irs[each.ir_hash] = None if content is None else decode_ir(content)
    return [approval_view(each, irs[each.ir_hash]) for each in found]


def _confirm(kind: str, run_id: str, step: str | None, scope: str, waiting: list[ApprovalView]) -> None:
    """Ask the person at the terminal. Raises CliError for a no. Where several steps could be meant nothing is asked."""
    meant = [view for view in waiting if step in (None, view.step) and scope in ("", view.scope)]
    if len(meant) > 1:
        return
    what = f"{step} {scope}".strip() if step else "the step that will ask"
    since = ""
    if meant:
        what, since = meant[0].label, f", asked {age_text((utc_now() - meant[0].since).total_seconds())}"
    if not click.confirm(f"{kind} {what} of {run_id}{since}?", err=True):
        raise CliError(ExitCode.CANCELLED, "not_confirmed", "nothing was decided", "--yes decides without asking")
