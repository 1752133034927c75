"""``courante fork``: a new run goes on from any event of another one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import click
from msgspec import UNSET

from ...sdk.client.restarts import Restarted
from ...sdk.json_values import NotJson, decode_text
from ..actors import by_option
from ..bulk import read_selection, selection_options, tell_each
from ..call import Call, service_options, with_call
from ..inputs import bad_option, read_input
from ..services import ask_client
from ..texts import count_text, list_text
from ..views.dead_letters import restarted_json


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@selection_options
@click.option(
    "--at", "at", type=click.IntRange(1), required=True, metavar="SEQ", help="The event after which the fork goes on."
)
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=VALUE", help="One input; together they are the whole input."
)
@click.option("--input-file", metavar="FILE", help="The whole input as JSON or YAML; '-' reads standard input.")
@click.option(
    "--override",
    "overrides",
    multiple=True,
    metavar="STEP=JSON",
    help="An output in the place of a step's; STEP[SCOPE] in a loop or a map. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be executed, and start nothing.")
@click.option("--again", is_flag=True, help="Also where that was done before: yet another run.")
@by_option
@service_options
@with_call
def fork(
    call: Call,
    /,
    run_id: str | None,
    at: int,
    inputs: Sequence[str],
    input_file: str | None,
    overrides: Sequence[str],
    dry_run: bool,
    again: bool,
    by: str | None,
    **said: Any,
) -> int:
    """Start a run that goes on from where another one was after one of its events.

    That run may be at work, or have ended in any way. What was done by then is taken over, and the rest is executed
    in a new run, which names the other one as its base. 'courante events RUN' shows the numbers; in the middle of a
    transition the last whole one counts. With an input of its own the fork has that in place of the run's. Asked twice
    for the same it is the same run.

    --override puts an output in the place of a step's, whether that has ended or lives at the event; what depends on
    it begins anew, by the ways to which that output leads. In a loop or a map it is the step that lives there, or the
    last one; STEP[SCOPE] says which, as 'courante status' shows it.

    With filters in place of RUN: every run to which all of them apply, each after its event SEQ. --at 1 is from the
    beginning.
    """
    wanted = read_selection(run_id, said)
    out, value = call.out, read_input(inputs, input_file) if inputs or input_file is not None else UNSET
    given = _read_overrides(overrides)
    if wanted is not None:
        return tell_each(
            call,
            lambda client: client.bulk.fork(
                wanted, at, input=value, override=given, by=by, again=again, dry_run=dry_run
            ),
            is_dry=dry_run,
            line=partial(_line, at=at),
            is_fork=True,
        )
    assert run_id is not None
    done = ask_client(
        call,
        lambda client: client.fork(run_id, at, input=value, override=given, by=by, again=again, dry_run=dry_run),
    )
    out.json(restarted_json(done, is_dry=dry_run, by=done.by, is_fork=True))
    out.text(f"{out.glyph('ok' if done.is_new else 'idle')} {_line(done, at=at, is_dry=dry_run)}")
    if not (dry_run and done.is_new):
        out.next(f"courante status {done.run_id} --watch")
    elif value is UNSET and not given:
        out.next(f"courante fork {run_id} --at {at}")
    return 0


def _line(done: Restarted, /, *, at: int, is_dry: bool) -> str:
    where = f"after event {done.base_seq}"
    if done.base_seq != at:
        where += f", because event {at} is in the middle of a transition"
    if not done.is_new:
        told = "" if is_dry else "; --again starts another run"
        return f"{done.base_run_id} was forked there before, {where}: it is {done.run_id}{told}"
    executed = list_text(done.impacted) if done.impacted else "it ends as the other one did"
    kept = count_text(len(done.reused), "step")
    verb = "would be forked" if is_dry else f"is forked as {done.run_id}"
    given = f"; given: {list_text(done.given)}" if done.given else ""
    return f"{done.base_run_id} {verb} {where}: {executed}; {kept} taken over{given}"


def _read_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Outputs by their steps. Raises CliError."""
    given: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            hint = "for example --override 'price={\"eur\": 3}'"
            raise bad_option("--override", f"{text!r}: expected STEP=JSON", hint)
        if name in given:
            raise bad_option("--override", f"{name!r} is given twice", "leave out one of the two")
        try:
            given[name] = decode_text(value)
        except NotJson as error:
            problem = f"{error.place}: {error.problem}" if error.place else "it is no JSON"
            hint = f"for example --override '{name}={{\"eur\": 3}}'; a text has quotes of its own: '{name}=\"fine\"'"
            raise bad_option("--override", f"{text!r:.200}: {problem}", hint) from error
    return given
