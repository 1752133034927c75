"""``courante dlq``: steps that failed for good; they are listed, shown, started again with their runs, or dropped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...sdk.client.dead_letters import DroppedLetters
from ...sdk.client.restarts import Restarted
from ...sdk.errors import CouranteError, NotRestartable, RunNotFound, WorkflowNotFound
from ...sdk.stores.dead_letters import DeadLetter, Dropped, Wanted
from ..actors import by_option
from ..call import Call, service_options, with_call
from ..commanded import reason_option
from ..exits import CliError, ExitCode
from ..inputs import read_since
from ..output import Output
from ..services import ask_client
from ..texts import count_text
from ..views.dead_letters import DeadLetterView, refusal_json, restarted_json, restarted_line
from ..views.run import utc_now

if TYPE_CHECKING:
    from ..services import AnyClient

F = TypeVar("F", bound=Callable[..., Any])
Outcome = tuple[str, "Restarted | CouranteError"]
"""A run, and what became of starting it again."""


@click.group()
@service_options
def dlq() -> None:
    """Steps that failed for good: list them, start their runs again, or drop them.

    A dead letter is a step whose tries ran out, whose error was fatal, or that ended one worker after the other
    (POISONED), of a run that ended FAILED.
    """


def _filters(function: F) -> F:
    """Which dead letters; handed on as ``wanted``, without what nobody said."""
    options = [
        click.option("--workflow", metavar="ID", help="Only of runs of this workflow."),
        click.option("--step", metavar="STEP", help="Only of this step."),
        click.option("--error", metavar="TYPE", help="Only with this type of error, for example POISONED."),
        click.option("--kind", type=click.Choice(["fatal", "retryable"]), help="Only errors of this kind."),
        click.option("--since", metavar="WHEN", help="Only failures since: 30m, 2h, 7d or a time."),
        click.option("--until", metavar="WHEN", help="Only failures before: as --since."),
        click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only of runs with this tag; all of several."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _limit_option(default: int, help: str) -> Callable[[F], F]:
    kind = click.IntRange(1, 1000)
    return click.option("--limit", type=kind, default=default, show_default=True, metavar="N", help=help)


def _wanted(said: dict[str, Any], **more: Any) -> Wanted:
    said = dict(said, since=read_since(said["since"]), until=read_since(said["until"], "--until"), node=said["step"])
    del said["step"]
    return Wanted(**said, **more)


@dlq.command("list")
@_filters
@click.option("--all", "is_all", is_flag=True, help="Also those that somebody has dealt with.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N", help="At most so many."
)
@click.option("--cursor", metavar="CURSOR", help="Go on where a page before ended: its 'next'.")
@service_options
@with_call
def list_(call: Call, /, is_all: bool, limit: int, cursor: str | None, **said: Any) -> None:
    """List dead letters, the last failure first."""
    wanted, out = _wanted(said, is_open=not is_all), call.out

    async def ask(client: AnyClient) -> tuple[list[DeadLetterView], str | None]:
        page = await client.dead_letters(wanted, limit=limit, cursor=cursor)
        return await _views(client, page.letters), page.next

    views, following = ask_client(call, ask)
    out.json({"dead_letters": [view.to_json() for view in views], "next": following})
    if not views:
        out.text("no dead letters")
        return
    now = utc_now()
    state = ["state"] if is_all else []
    out.table(["run", "workflow", "step", "failed", *state, "error"], [v.row(now, shows_state=is_all) for v in views])
    if following is not None:
        out.next(f"courante dlq list --cursor {following}")
    else:
        out.next(f"courante dlq show {views[0].letter.run_id}")


@dlq.command()
@click.argument("place", metavar="RUN[/STEP]")
@service_options
@with_call
def show(call: Call, place: str) -> None:
    """Show the dead letters of a run, and what starting it again would do."""
    out = call.out

    async def ask(client: AnyClient) -> tuple[list[DeadLetterView], Restarted | CouranteError]:
        letters = await _letters_at(client, [place], is_open=False)
        run_id = letters[0].run_id
        return await _views(client, letters), (await _restart_each(client, [run_id], None, is_dry=True))[0][1]

    views, planned = ask_client(call, ask)
    letter = views[0].letter
    out.json(
        {
            "dead_letters": [view.to_json() for view in views],
            "requeue": None if isinstance(planned, CouranteError) else restarted_json(planned, is_dry=True),
            "refused": refusal_json(letter.run_id, planned) if isinstance(planned, CouranteError) else None,
        }
    )
    for view in views:
        for line in view.lines():
            out.text(line)
    if isinstance(planned, CouranteError):
        out.text(f"{out.glyph('warning')} it cannot be started again: {planned.message}")
    else:
        out.text(f"{out.glyph('idle')} {restarted_line(planned, is_dry=True)}")
    out.next(_following(out, [view.letter for view in views], planned))


def _following(out: Output, letters: Sequence[DeadLetter], planned: Restarted | CouranteError) -> str:
    """What a person is likely to want next. Says what else can be done where that is not to start it again."""
    letter = letters[0]
    if letter.requeued_as:
        return f"courante status {letter.requeued_as}"
    if any(one.state != "open" for one in letters):
        return f"courante events {letter.run_id}"
    if isinstance(planned, NotRestartable) and planned.reason == "not_failed":
        return planned.hint
    if isinstance(planned, CouranteError):
        out.text(f"{out.glyph('idle')} {planned.hint or f'start it anew: courante run {letter.workflow}'}")
        return f"courante dlq drop {letter.run_id}"
    return f"courante dlq requeue {letter.run_id}"


def _choice_options(function: F) -> F:
    """Runs by name, or filters; ``--all`` where neither is meant to narrow anything down."""
    options = [
        click.option("--all", "is_all", is_flag=True, help="All that are open, where no filter is given."),
        _limit_option(100, "At most so many dead letters, the last failures first."),
        click.option("--yes", is_flag=True, help="Do not ask; a pipe and --json are never asked."),
        click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing."),
    ]
    for option in reversed(options):
        function = option(function)
    return _filters(function)


@dlq.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@_choice_options
@click.option("--again", is_flag=True, help="Also where that was done before: yet another run.")
@by_option
@service_options
@with_call
def requeue(
    call: Call,
    /,
    runs: tuple[str, ...],
    is_all: bool,
    limit: int,
    yes: bool,
    dry_run: bool,
    again: bool,
    by: str | None,
    **said: Any,
) -> int:
    """Start the runs of dead letters again, from where each was before its first failure.

    A new run takes over what was done; what failed, with all its tries, and what follows is executed. It names the old
    one as its base. Asked twice it is the same run.
    """
    out, is_named = call.out, bool(runs)
    if not is_named:
        found = _choose(call, said, is_all=is_all, limit=limit)
        runs = tuple(dict.fromkeys(letter.run_id for letter in reversed(found)))
        if runs and not dry_run:
            _confirm(call, f"start {count_text(len(runs), 'run')} again", is_sure=yes)
    outcomes = ask_client(call, lambda client: _restart_each(client, runs, by, again=again, is_dry=dry_run))
    refused = [(run_id, told) for run_id, told in outcomes if isinstance(told, CouranteError)]
    done = [told for _, told in outcomes if isinstance(told, Restarted)]
    if is_named and len(runs) == 1 and refused:
        raise refused[0][1]
    told = [restarted_json(one, is_dry=dry_run) for one in done]
    out.json({"dry_run": dry_run, "requeued": told, "refused": [refusal_json(*one) for one in refused]})
    for one in done:
        out.text(f"{out.glyph('ok' if one.is_new else 'idle')} {restarted_line(one, is_dry=dry_run)}")
    for run_id, error in refused:
        out.text(f"{out.glyph('error')} {run_id}: {error.message}")
    if not outcomes:
        out.text("no dead letters")
    elif len(done) == 1 and not dry_run:
        out.next(f"courante status {done[0].run_id} --watch")
    return ExitCode.INVALID if refused else ExitCode.OK


@dlq.command()
@click.argument("places", metavar="[RUN[/STEP]]...", nargs=-1)
@_choice_options
@reason_option
@by_option
@service_options
@with_call
def drop(
    call: Call,
    /,
    places: tuple[str, ...],
    is_all: bool,
    limit: int,
    yes: bool,
    dry_run: bool,
    reason: str,
    by: str | None,
    **said: Any,
) -> None:
    """Say that dead letters are dealt with, without starting anything.

    They are listed no more but with --all, which tells who has dropped them and why. Nothing of the log is deleted.
    """
    out = call.out
    letters = _choose(call, said, is_all=is_all, limit=limit, places=places)
    if letters and not places and not dry_run:
        _confirm(call, f"drop {count_text(len(letters), 'dead letter')}", is_sure=yes)
    dropped = DroppedLetters([Dropped(letter.run_id, letter.node, letter.scope) for letter in letters], by)
    if not dry_run:
        dropped = ask_client(call, lambda client: client.drop_dead_letters(letters, reason, by=by))
    shown = [{"run_id": one.run_id, "step": one.node, "scope": one.scope} for one in dropped.letters]
    out.json({"dry_run": dry_run, "dropped": shown, "by": dropped.by, "reason": reason})
    if not shown:
        out.text(f"{out.glyph('idle')} nothing to drop: somebody has dealt with it, or there is none")
    elif dry_run:
        out.text(f"{out.glyph('idle')} {count_text(len(shown), 'dead letter')} would be dropped")
    else:
        who = f" by {dropped.by}" if dropped.by else ""
        out.text(f"{out.glyph('ok')} {count_text(len(shown), 'dead letter')} dropped{who}")
    out.next("courante dlq list")


def _choose(
    call: Call, said: dict[str, Any], *, is_all: bool, limit: int, places: Sequence[str] = ()
) -> list[DeadLetter]:
    """The open dead letters that are meant. Raises CliError where nothing says which."""
    if places:
        return ask_client(call, lambda client: _letters_at(client, places, is_open=True))
    if not is_all and not any(said.values()):
        hint = "give RUN, or filters as of 'courante dlq list', or --all"
        raise CliError(ExitCode.USAGE, "usage", "which dead letters is not said", hint)
    wanted = _wanted(said)

    async def ask(client: AnyClient) -> list[DeadLetter]:
        return (await client.dead_letters(wanted, limit=limit)).letters

    return ask_client(call, ask)


def _confirm(call: Call, what: str, *, is_sure: bool) -> None:
    """Ask the person at the terminal. Raises CliError for a no."""
    if is_sure or call.is_json or not sys.stdin.isatty() or click.confirm(f"{what}?", err=True):
        return
    raise CliError(ExitCode.CANCELLED, "not_confirmed", "nothing was changed", "--yes does it without asking")


async def _letters_at(client: AnyClient, places: Sequence[str], *, is_open: bool) -> list[DeadLetter]:
    """The dead letters of runs, or of single steps of theirs. Raises RunNotFound, CliError where there are none."""
    found: list[DeadLetter] = []
    for place in places:
        run_id, _, step = place.partition("/")
        wanted = Wanted(run_id=run_id, node=step or None, is_open=False)
        letters = (await client.dead_letters(wanted, limit=1000)).letters
        if not letters:
            result = await client.result(run_id)
            message = f"{place} is no dead letter: the run is {result.status}"
            raise CliError(ExitCode.NOT_FOUND, "no_dead_letter", message, "'courante dlq list' shows them")
        found += [letter for letter in letters if letter.state == "open" or not is_open]
    return found


async def _restart_each(
    client: AnyClient, runs: Sequence[str], by: str | None, *, again: bool = False, is_dry: bool
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for run_id in dict.fromkeys(runs):
        try:
            outcomes.append((run_id, await client.requeue(run_id, by=by, again=again, dry_run=is_dry)))
        except (RunNotFound, WorkflowNotFound) as error:
            outcomes.append((run_id, error))
        except CouranteError as error:
            if error.code == "service_unavailable":
                raise
            outcomes.append((run_id, error))
    return outcomes


async def _views(client: AnyClient, letters: Sequence[DeadLetter]) -> list[DeadLetterView]:
    irs = await client.irs(letter.ir_hash for letter in letters if letter.scope and letter.ir_hash)
    return [DeadLetterView.of(letter, irs.get(letter.ir_hash)) for letter in letters]
