"""``courante rebuild``: a new run executes again what changes of the outside world make out of date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from msgspec import UNSET

from ..actors import by_option
from ..bulk import read_selection, selection_options, tell_each
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..inputs import read_input
from ..services import ask_client
from ..views.restarts import again_options, made_again_line, tell_again


class _VersionWord(click.Choice[str]):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """``newest`` was the word for the latest one."""
        return super().convert("latest" if value == "newest" else value, param, ctx)


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@selection_options
@click.option(
    "--change", "changes", multiple=True, metavar="TYPE", help="A change that the workflow knows; repeatable."
)
@click.option("--from", "steps", multiple=True, metavar="STEP", help="A step that is out of date; repeatable.")
@click.option(
    "--version",
    type=_VersionWord(["latest", "base"]),
    default="latest",
    show_default=True,
    help="latest: only if the run has that of its workflow; base: whatever it has.",
)
@again_options
@by_option
@service_options
@with_call
def rebuild(
    call: Call,
    /,
    run_id: str | None,
    changes: Sequence[str],
    steps: Sequence[str],
    version: str,
    inputs: Sequence[str],
    input_file: str | None,
    dry_run: bool,
    again: bool,
    by: str | None,
    **said: Any,
) -> int:
    """Execute again what a change makes out of date.

    Of a completed run, the steps that 'changes:' of its workflow names for the change, and all that follows from them,
    are executed in a new run, which names this one as its base; everything else is taken over. 'courante workflows
    show' lists the changes. Asked twice for the same it is the same run.

    With filters in place of RUN: every completed run to which all of them apply.
    """
    wanted = read_selection(run_id, said)
    if not changes and not steps:
        hint = "give --change TYPE; 'courante workflows show ID' lists them"
        raise CliError(ExitCode.USAGE, "usage", "what has changed is not said", hint)
    value = read_input(inputs, input_file) if inputs or input_file is not None else UNSET
    is_any = version == "base"
    if wanted is not None:
        return tell_each(
            call,
            lambda client: client.bulk.rebuild(
                wanted, changes, steps=steps, input=value, is_any_version=is_any, by=by, again=again, dry_run=dry_run
            ),
            is_dry=dry_run,
            line=made_again_line,
        )
    assert run_id is not None
    done = ask_client(
        call,
        lambda client: client.rebuild(
            run_id, changes, steps=steps, input=value, is_any_version=is_any, by=by, again=again, dry_run=dry_run
        ),
    )
    words = [*(f"--change {change}" for change in changes), *(f"--from {step}" for step in steps)]
    command = " ".join(["courante rebuild", run_id, *words, *(["--version base"] if is_any else [])])
    tell_again(call, done, is_dry=dry_run, command=command if value is UNSET else "")
    return 0
