"""``courante approve``, ``reject`` and ``approvals``: a person's word about a step that waits for one."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from ...api.reading.approvals import read_approvals
from ...api.reading.inputs import read_input
from ...api.reading.runs import RunReader
from ...api.wire.approvals import Approval, ApprovalPage
from ...api.wire.inputs import StepGiven
from ...api.wire.runs import RunShown
from ...sdk.errors import CouranteError
from ..actors import by_option
from ..asking import look_up
from ..call import Call, service_options, with_call
from ..commanded import data_option, scope_option, tell
from ..exits import CliError, ExitCode
from ..remote.paths import at
from ..services import ask_client
from ..views.approvals import about_lines, asked_text, deciders_text, expiry_text, label_of
from ..views.run import utc_now

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
        if not yes and not call.is_json and sys.stdin.isatty():
            _confirm(call, kind, run_id, step, scope)
        done = ask_client(
            call,
            lambda client: (client.approve if kind == "approve" else client.reject)(
                run_id, step, scope=scope, comment=comment, reason=reason, data=data, by=by
            ),
        )
        shown = f"{f'{done.step} {done.scope}'.strip()} of {run_id}"
        more = {"step": done.step, "scope": done.scope, "decision": kind}
        tell(call, done, f"{shown} is {WORDS[kind]}{f' by {done.by}' if done.by else ''}", more)

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
    wanted = {"workflow": workflow, "run_id": run_id}
    page = look_up(
        call,
        lambda conn, env: read_approvals(conn, env, limit=limit, **wanted),
        lambda api: api.get(at("approvals"), ApprovalPage, wanted | {"limit": str(limit)}),
    )
    call.out.json(msgspec.to_builtins(page))
    found = page.approvals
    if not found:
        call.out.text("nothing waits for a decision")
        return
    now = utc_now()
    rows = [
        [
            view.run_id,
            view.workflow,
            label_of(view),
            asked_text(view, now),
            expiry_text(view, now),
            view.escalated_to or "",
            deciders_text(view),
        ]
        for view in found
    ]
    call.out.table(["run", "workflow", "step", "asked", "expires", "escalated to", "decided by"], rows)
    call.out.next(f"courante approve {found[0].run_id} {found[0].step}")


def _asking(call: Call, run_id: str) -> list[Approval]:
    """What a run waits for. Raises CliError: nobody is asked about a run that is not there."""
    run = look_up(
        call,
        lambda conn, env: RunReader(conn, env, run_id).shown(),
        lambda api: api.get(at("runs", run_id), RunShown),
    )
    return run.approvals


def _given(call: Call, asking: Approval) -> StepGiven | str:
    """What a step was given that asks, or why that cannot be told: it can be decided all the same."""
    run_id, step, scope = asking.run_id, asking.step, asking.scope
    try:
        return look_up(
            call,
            lambda conn, env: read_input(conn, env, run_id, step, scope),
            lambda api: api.get(at("runs", run_id, "steps", step, "input"), StepGiven, {"scope": scope}),
        )
    except (CliError, CouranteError) as error:
        return error.message


def _confirm(call: Call, kind: str, run_id: str, step: str | None, scope: str) -> None:
    """Show the person at the terminal what is decided about, and ask. Raises CliError for a no.

    Where several steps could be meant nothing is asked.
    """
    waiting = _asking(call, run_id)
    meant = [view for view in waiting if step in (None, view.step) and scope in ("", view.scope)]
    if len(meant) > 1:
        return
    what = f"{step} {scope}".strip() if step else "the step that will ask"
    since = ""
    if meant:
        what, since = label_of(meant[0]), f", asked {asked_text(meant[0], utc_now())}"
        for line in about_lines(meant[0], _given(call, meant[0])):
            call.out.note(line)
    if not click.confirm(f"{kind} {what} of {run_id}{since}?", err=True):
        raise CliError(ExitCode.CANCELLED, "not_confirmed", "nothing was decided", "--yes decides without asking")
