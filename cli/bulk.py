"""Bulk as people ask for it: options that say which runs, a line for each of them, and what became of all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click
from click import style

from ..sdk.client.bulk import Outcome, Selection
from ..sdk.client.restarts import Restarted
from ..sdk.errors import CouranteError
from .call import Call
from .exits import CliError, ExitCode
from .inputs import read_since
from .services import ask_client
from .texts import count_text
from .views.dead_letters import refusal_json, restarted_json, restarted_line

if TYPE_CHECKING:
    from .services import AnyClient

F = TypeVar("F", bound=Callable[..., Any])
STRIDE = 100
"""Runs between two words of progress."""


class Line(Protocol):
    """Says in a line what became of a run; dry: what would."""

    def __call__(self, done: Restarted, /, *, is_dry: bool) -> str: ...


def selection_options(function: F) -> F:
    """Which runs; handed on by their names, for ``read_selection``."""
    options = [
        click.option("--workflow", metavar="ID", help="Instead of RUN: all runs of this workflow."),
        click.option("--status", metavar="STATUS", help="All runs with this status."),
        click.option("--since", metavar="WHEN", help="All runs accepted since: 30m, 2h, 7d or a time."),
        click.option("--tag", metavar="TAG", help="All runs with this tag."),
        click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many of them, the newest."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def read_selection(run_id: str | None, said: dict[str, Any]) -> Selection | None:
    """Return which runs are meant, None where it is the one that is named. Raises CliError where it is not clear."""
    named = " ".join(f"--{name}" for name, value in said.items() if value is not None)
    if run_id is not None and named:
        raise CliError(ExitCode.USAGE, "usage", f"RUN and {named} say two things", "give either RUN or filters")
    since = read_since(said["since"])
    wanted = Selection(
        workflow=said["workflow"], status=said["status"], since=since, tag=said["tag"], limit=said["limit"]
    )
    if run_id is None and not wanted.says_which:
        hint = "give RUN, or filters: --workflow, --status, --since or --tag"
        raise CliError(ExitCode.USAGE, "usage", "which run is not said", hint)
    return None if run_id is not None else wanted


def tell_each(
    call: Call,
    ask: Callable[[AnyClient], AsyncGenerator[Outcome]],
    *,
    is_dry: bool,
    line: Line = restarted_line,
    is_fork: bool = False,
) -> int:
    """Tell a run a line, and at last what became of all. Exits with 1 where one was refused.

    line: what became of one that was not refused.
    """
    out, counts = call.out, {"started": 0, "known": 0, "refused": 0}

    def tell(outcome: Outcome) -> None:
        told = outcome.told
        if isinstance(told, CouranteError):
            counts["refused"] += 1
            out.json(refusal_json(outcome.run_id, told))
            out.text(f"{out.glyph('error')} {outcome.run_id}: {told.message}")
            if told.hint:
                out.text(f"    {style('hint:', fg='cyan')} {told.hint}")
        else:
            counts["started" if told.is_new else "known"] += 1
            out.json(restarted_json(told, is_dry=is_dry, is_fork=is_fork))
            out.text(f"{out.glyph('ok' if told.is_new else 'idle')} {line(told, is_dry=is_dry)}")

    async def go(client: AnyClient) -> None:
        async with aclosing(ask(client)) as outcomes:
            async for outcome in outcomes:
                tell(outcome)
                if not sum(counts.values()) % STRIDE:
                    out.note(f"{sum(counts.values()):,} runs so far")

    ask_client(call, go)
    count = sum(counts.values())
    out.json({"dry_run": is_dry, "runs": count, **counts})
    if not count:
        out.text("no such runs")
        return ExitCode.OK
    verb = "would go on anew" if is_dry else "go on anew"
    told = f"{counts['started']:,} {verb}, {counts['known']:,} did before, {counts['refused']:,} refused"
    out.text(f"{count_text(count, 'run')}: {told}")
    return ExitCode.INVALID if counts["refused"] else ExitCode.OK
