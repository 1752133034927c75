"""``courante cancel``, ``signal``, ``complete``, ``fail``, ``force``: what is asked of a run.

Each is durable before it takes effect, and is applied by this command: no supervisor needs to live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..actors import by_option
from ..call import Call, service_options, with_call
from ..commanded import data_option, reason_option, refuse, scope_option, tell
from ..exits import ExitCode
from ..services import ask_client

if TYPE_CHECKING:
    from ...sdk.client.control import Commanded


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--step", metavar="STEP", help="Only this step: it is withdrawn, and the run goes on without it.")
@scope_option
@reason_option
@by_option
@service_options
@with_call
def cancel(call: Call, run_id: str, step: str | None, scope: str, reason: str, by: str | None) -> int:
    """Cancel a run, or one step of it.

    What waits is taken away, what runs is told, and what is done is undone where the workflow says how. With --step the
    ways that lead on from the step are dead. Asked twice it is done once.
    """
    if step is None:
        if scope:
            raise refuse("--scope", "says which one of a step, and no --step is given")
        done = ask_client(call, lambda client: client.cancel(run_id, reason, by=by))
        tell(call, done, f"{run_id} is being cancelled", next="status --watch")
        return ExitCode.OK
    done = ask_client(call, lambda client: client.cancel_step(run_id, step, scope=scope, reason=reason, by=by))
    tell(call, done, f"step {step} of {run_id} is withdrawn", {"step": step, "scope": scope})
    return _code(done)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("name")
@data_option("What the signal brings: the output of the step that waits for it.")
@by_option
@service_options
@with_call
def signal(call: Call, run_id: str, name: str, data: Any, by: str | None) -> int:
    """Send a signal to a run.

    It goes to the step that has waited longest for NAME, or is kept for the first one that will. One signal lets one
    step go on.
    """
    done = ask_client(call, lambda client: client.signal(run_id, name, data, by=by))
    tell(call, done, f"{run_id} has the signal {name}", {"name": name})
    return _code(done)


@click.command()
@click.argument("token")
@data_option("The output of the step; left out: null.")
@by_option
@service_options
@with_call
def complete(call: Call, token: str, data: Any, by: str | None) -> int:
    """Let a step succeed that has handed out a token.

    TOKEN is that of one attempt, as the step's context.defer() gave it; 'courante status' shows those of steps that
    wait. Only the first word about an attempt counts.
    """
    done = ask_client(call, lambda client: client.complete(token, data, by=by))
    more = {"step": done.step, "scope": done.scope}
    tell(call, done, f"step {f'{done.step} {done.scope}'.strip()} of {done.run_id} is completed", more)
    return _code(done)


@click.command()
@click.argument("token")
@click.option("--reason", required=True, metavar="TEXT", help="What went wrong: the message of the step's error.")
@by_option
@service_options
@with_call
def fail(call: Call, token: str, reason: str, by: str | None) -> int:
    """Let a step fail that has handed out a token.

    The attempt fails with FAILED_OUTSIDE, and is tried again where the step has attempts left.
    """
    done = ask_client(call, lambda client: client.fail(token, reason, by=by))
    more = {"step": done.step, "scope": done.scope}
    tell(call, done, f"this attempt of step {f'{done.step} {done.scope}'.strip()} of {done.run_id} has failed", more)
    return _code(done)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("step")
@click.argument("end", metavar="succeed|skip", type=click.Choice(["succeed", "skip"]))
@scope_option
@data_option("With 'succeed': the output of the step; left out: null.")
@reason_option
@by_option
@service_options
@with_call
def force(call: Call, run_id: str, step: str, end: str, scope: str, data: Any, reason: str, by: str | None) -> int:
    """Say how a step ends that waits, retries or runs.

    What its handler still does counts no more.
    """
    if end == "skip" and data is not None:
        raise refuse("--data", "is the output of a step, and a step that is skipped has none")

    done = ask_client(
        call,
        lambda client: (
            client.force_succeed(run_id, step, data, scope=scope, reason=reason, by=by)
            if end == "succeed"
            else client.force_skip(run_id, step, scope=scope, reason=reason, by=by)
        ),
    )
    said = f"step {f'{step} {scope}'.strip()} of {run_id} {'has succeeded' if end == 'succeed' else 'is skipped'}"
    tell(call, done, f"{said}, as you say", {"step": step, "scope": scope, "end": end})
    return _code(done)


def _code(done: Commanded) -> int:
    """A script that asks for something in vain is told so."""
    return ExitCode.INVALID if done.state == "no_effect" else ExitCode.OK
