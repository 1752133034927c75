"""``courante statistics``: how runs, steps and retries have gone."""

from __future__ import annotations

import click
import msgspec
from click import style

from ...api.reading.statistics import count
from ...api.wire.statistics import StatisticsShown
from ...sdk.stores.statistics import RUNS_MAX, Spread
from ..asking import look_up
from ..call import Call, service_options, with_call
from ..inputs import read_since
from ..output import Output, status_text
from ..remote.paths import at
from ..texts import count_text, duration_text, iso


@click.command()
@click.option("--workflow", metavar="ID", help="Only runs of this workflow.")
@click.option("--run", "run_id", metavar="RUN", help="Only this run.")
@click.option("--since", metavar="WHEN", help="Runs accepted since: 30m, 2h, 7d or a time; left out: 24h.")
@service_options
@with_call
def statistics(call: Call, workflow: str | None, run_id: str | None, since: str | None) -> None:
    """Count runs, steps and retries, and how long they took."""
    accepted = read_since(since)
    query = {"workflow": workflow, "run_id": run_id, "since": iso(accepted)}
    found = look_up(
        call,
        lambda conn, env: count(conn, env, workflow=workflow, run_id=run_id, since=accepted),
        lambda api: api.get(at("statistics"), StatisticsShown, query),
    )
    call.out.json(msgspec.to_builtins(found))
    if not call.is_json:
        _show(call.out, found)


def _show(out: Output, found: StatisticsShown) -> None:
    runs, retries = found.runs, found.retries
    if not runs.total:
        out.text("no runs")
        return
    rows: list[tuple[str, str]] = []
    statuses = ", ".join(f"{count:,} {status_text(status)}" for status, count in sorted(runs.by_status.items()))
    rows.append(("runs", statuses))
    if runs.success_rate is not None:
        rows.append(("succeeded", f"{runs.success_rate:.1%} of those that ended by themselves"))
    if runs.seconds is not None:
        rows.append(("took", f"{_spread_text(runs.seconds)}, longest {duration_text(runs.seconds.longest)}"))
    if retries.steps:
        text = f"{count_text(retries.steps, 'step')}: {retries.recovered:,} recovered, {retries.exhausted:,} not"
        rows.append(("retried", text))
    if retries.average_attempts is not None:
        rows.append(("attempts", f"{retries.average_attempts:.2f} a step"))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        out.text(f"{style(name.ljust(width), bold=True)}  {text}")
    if found.steps:
        out.text()
        head = ["workflow", "step", "total", "succeeded", "failed", "skipped", "retried", "attempts", "took"]
        out.table(
            head,
            [
                [
                    one.workflow,
                    one.step,
                    *(f"{n:,}" for n in (one.total, one.succeeded, one.failed, one.skipped, one.retried, one.attempts)),
                    "" if one.seconds is None else _spread_text(one.seconds),
                ]
                for one in found.steps
            ],
        )
    if found.workers:
        out.text()
        out.table(["worker", "attempts"], [[name, f"{count:,}"] for name, count in found.workers.items()])
    if found.is_cut:
        out.note(f"there is more: the newest {RUNS_MAX:,} runs are counted, and not all steps or workers are shown")


def _spread_text(spread: Spread) -> str:
    return f"median {duration_text(spread.median)}, p95 {duration_text(spread.p95)}"
