"""``courante pause``, ``resume``: a run, all runs of a workflow, or a queue stand still and go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from ...api.wire.pauses import pause_done, pause_page
from ..actors import by_option
from ..call import Call, service_options, with_call
from ..commanded import reason_option, tell
from ..exits import CliError, ExitCode
from ..services import ask_client
from ..texts import count_text

if TYPE_CHECKING:
    from ...sdk.client.pausing import PauseResult

F = TypeVar("F", bound=Callable[..., Any])


def _what_options(queue: str) -> Callable[[F], F]:
    """RUN, ``--workflow`` or ``--queue``. queue: what becomes of one."""

    def decorate(function: F) -> F:
        function = click.option("--queue", metavar="NAME", help=queue)(function)
        function = click.option("--workflow", metavar="ID", help="All runs of a workflow, and those to come.")(function)
        return click.argument("run_id", metavar="[RUN]", required=False)(function)

    return decorate


@click.command()
@_what_options("A queue: its workers read it no more.")
@click.option("--list", "is_list", is_flag=True, help="Show which workflows and queues are paused.")
@reason_option
@by_option
@service_options
@with_call
def pause(
    call: Call,
    run_id: str | None,
    workflow: str | None,
    queue: str | None,
    is_list: bool,
    reason: str,
    by: str | None,
) -> None:
    """Hand out no more steps of a run, a workflow or a queue until it is resumed.

    What is under way ends. Timers, signals and decisions that come meanwhile are kept. Workers hear of a paused queue
    within seven seconds.
    """
    _check_one(run_id, workflow, queue, "--list" if is_list else None)
    if is_list:
        _list(call)
    elif run_id is not None:
        commanded = ask_client(call, lambda client: client.pause(run_id, reason, by=by))
        tell(call, commanded, f"{run_id} is paused; what is under way ends", next="resume")
    elif workflow is not None:
        done = ask_client(call, lambda client: client.pause_workflow(workflow, reason, by=by))
        text = (
            f"workflow {workflow} is paused: {count_text(done.runs, 'run')} told, new ones stand still from the start"
        )
        _tell(call, done, text, f"workflow {workflow} was paused before", "resume --workflow")
    elif queue is not None:
        done = ask_client(call, lambda client: client.pause_queue(queue, reason, by=by))
        text = f"queue {queue} is paused; what workers hold of it ends"
        _tell(call, done, text, f"queue {queue} was paused before", "resume --queue")


@click.command()
@_what_options("A queue: its workers read it again.")
@reason_option
@by_option
@service_options
@with_call
def resume(
    call: Call, run_id: str | None, workflow: str | None, queue: str | None, reason: str, by: str | None
) -> None:
    """Let a paused run, workflow or queue go on.

    A run that was paused by itself does not go on with its workflow.
    """
    _check_one(run_id, workflow, queue)
    if run_id is not None:
        commanded = ask_client(call, lambda client: client.resume(run_id, reason, by=by))
        tell(call, commanded, f"{run_id} goes on", next="status --watch")
    elif workflow is not None:
        done = ask_client(call, lambda client: client.resume_workflow(workflow, by=by))
        text = f"workflow {workflow} goes on: {count_text(done.runs, 'run')} told"
        _tell(call, done, text, f"workflow {workflow} was not paused", "runs --workflow")
    elif queue is not None:
        done = ask_client(call, lambda client: client.resume_queue(queue, by=by))
        _tell(call, done, f"queue {queue} is read again", f"queue {queue} was not paused", "pause --list")


def _check_one(*named: str | None) -> None:
    if sum(name is not None for name in named) != 1:
        given = "nothing to pause or resume was named" if not any(named) else "one thing at a time"
        raise CliError(ExitCode.USAGE, "usage", given, "give a RUN, or --workflow ID, or --queue NAME")


def _tell(call: Call, done: PauseResult, applied: str, before: str, next: str) -> None:
    """``before``: what is said where there was nothing to do."""
    out = call.out
    name = done.name
    out.json(msgspec.to_builtins(pause_done(done)))
    if done.state == "accepted":
        later = "Redis as soon as that can be reached" if done.kind == "queue" else "runs that are left by a supervisor"
        out.text(f"{out.glyph('warning')} it is kept, and told to {later}")
    elif done.state == "no_effect":
        out.text(f"{out.glyph('idle')} {before}")
    else:
        out.text(f"{out.glyph('ok')} {applied}")
    out.next(f"courante {next}" if next.endswith("--list") else f"courante {next} {name}")


def _list(call: Call) -> None:
    pauses = ask_client(call, lambda client: client.pausing.list())
    page = pause_page(pauses)
    call.out.json(msgspec.to_builtins(page))
    if not pauses:
        call.out.text("no workflow and no queue is paused; 'courante runs --status paused' shows single runs")
        return
    rows = [[str(one.kind), one.name, one.by or "", one.reason, one.since] for one in page.pauses]
    call.out.table(["what", "name", "by", "reason", "since"], rows)
    call.out.next(f"courante resume --{pauses[0].kind} {pauses[0].name}")
