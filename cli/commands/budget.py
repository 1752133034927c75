"""``courante budget``: raises what the calls of models of a run may take."""

from __future__ import annotations

import click

from ...compiler.budgets import billionths
from ..actors import by_option
from ..call import Call, service_options, with_call
from ..commanded import reason_option, tell
from ..exits import CliError, ExitCode
from ..services import ask_client


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--add-tokens", type=click.IntRange(min=0), default=0, metavar="N", help="So many tokens more.")
@click.option("--add-cost", default="0", metavar="AMOUNT", help="So much money more, in the budget's currency.")
@reason_option
@by_option
@service_options
@with_call
def budget(call: Call, run_id: str, add_tokens: int, add_cost: str, reason: str, by: str | None) -> int:
    """Raise what the calls of models of a run may take.

    Steps that wait for it go on in their order, as far as it reaches. The log keeps who raised it, and by how much.
    """
    try:
        cost = billionths(add_cost)
    except ValueError as cause:
        raise CliError(ExitCode.USAGE, "usage", f"--add-cost: {cause}", "--add-cost 1.50") from cause
    if not add_tokens and not cost:
        raise CliError(ExitCode.USAGE, "usage", "nothing is added", "--add-tokens N or --add-cost AMOUNT")
    done = ask_client(
        call, lambda client: client.raise_budget(run_id, tokens=add_tokens, cost=add_cost, reason=reason, by=by)
    )
    tell(call, done, f"the budget of {run_id} is raised", {"tokens": add_tokens, "cost": float(add_cost)})
    return ExitCode.INVALID if done.state == "no_effect" else ExitCode.OK
