"""``courante rerun``: a new run executes steps of another one again, with all that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from msgspec import UNSET

from ..actors import by_option
from ..bulk import read_selection, selection_options, tell_each
from ..call import Call, service_options, with_call
from ..inputs import read_input
from ..services import ask_client
from ..views.restarts import again_options, made_again_line, tell_again


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@selection_options
@click.option("--from", "steps", multiple=True, required=True, metavar="STEP", help="A step to begin with; repeatable.")
@again_options
@by_option
@service_options
@with_call
def rerun(
    call: Call,
    /,
    run_id: str | None,
    steps: Sequence[str],
    inputs: Sequence[str],
    input_file: str | None,
    dry_run: bool,
    again: bool,
    by: str | None,
    **said: Any,
) -> int:
    """Execute steps of a run again, with all that follows from them.

    That run has ended, in any way. What does not follow from the steps is taken over, with its outputs and artifacts; a
    new run executes the rest, and names this one as its base. A step in a loop begins the loop anew, one in a map is
    executed again for every item. What failed is executed again too. With an input of its own the new run has that in
    place of the whole other one; what is taken over stays as it was. Asked twice for the same it is the same run.

    With filters in place of RUN: every run to which all of them apply.
    """
    wanted = read_selection(run_id, said)
    value = read_input(inputs, input_file) if inputs or input_file is not None else UNSET
    if wanted is not None:
        return tell_each(
            call,
            lambda client: client.bulk.rerun(wanted, steps, input=value, by=by, again=again, dry_run=dry_run),
            is_dry=dry_run,
            line=made_again_line,
        )
    assert run_id is not None
    done = ask_client(
        call, lambda client: client.rerun(run_id, steps, input=value, by=by, again=again, dry_run=dry_run)
    )
    words = " ".join(f"--from {step}" for step in steps)
    command = f"courante rerun {run_id} {words}" if value is UNSET else ""
    tell_again(call, done, is_dry=dry_run, command=command)
    return 0
