"""Runs that are made again in parts, as people see them; and the options that say how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ...sdk.client.restarts import Restarted
from ..call import Call
from ..texts import count_text, list_text
from .dead_letters import restarted_json

F = TypeVar("F", bound=Callable[..., Any])


def again_options(function: F) -> F:
    """``--input``, ``--input-file``, ``--dry-run`` and ``--again``."""
    options = [
        click.option(
            "--input",
            "inputs",
            multiple=True,
            metavar="NAME=VALUE",
            help="One input; together they are the whole input.",
        ),
        click.option("--input-file", metavar="FILE", help="The whole input as JSON or YAML; '-' reads standard input."),
        click.option("--dry-run", is_flag=True, help="Say what would be executed, and start nothing."),
        click.option("--again", is_flag=True, help="Also where that was done before: yet another run."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def tell_again(call: Call, done: Restarted, *, is_dry: bool, command: str) -> None:
    """Say what is executed again. command: what a dry run would have been without that; empty where nobody can tell."""
    out = call.out
    out.json(restarted_json(done, is_dry=is_dry, by=done.by))
    out.text(f"{out.glyph('ok' if done.is_new else 'idle')} {made_again_line(done, is_dry=is_dry)}")
    if not (is_dry and done.is_new):
        out.next(f"courante status {done.run_id} --watch")
    elif command:
        out.next(command)


def made_again_line(done: Restarted, *, is_dry: bool) -> str:
    executed, kept = list_text(done.impacted), count_text(len(done.reused), "step")
    if not done.is_new:
        told = "" if is_dry else "; --again starts another run"
        return f"{done.base_run_id} was made again so before: it is {done.run_id}{told}"
    verb = "would be made again" if is_dry else f"is made again as {done.run_id}"
    return f"{done.base_run_id} {verb}: {executed}; {kept} taken over"
