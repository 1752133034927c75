"""``courante statistics``: how runs, steps and retries have gone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click
import msgspec
from click import style

from ...sdk.stores.errors import UnknownRun
from ...sdk.stores.runs import get_run
from ...sdk.stores.statistics import RUNS_MAX, Spread, Statistics, read_statistics
from ..call import Call, service_options, with_call
from ..inputs import read_since
from ..output import Output, status_text
from ..run_view import utc_now
from ..services import Services, database, open_services, run_async
from ..texts import count_text, duration_text, iso

DAY = timedelta(hours=24)
ENDED = ("COMPLETED", "FAILED", "TIMED_OUT")
"""Of which rates are told: who was cancelled has neither succeeded nor failed."""


@click.command()
@click.option("--workflow", metavar="ID", help="Only runs of this workflow.")
@click.option("--run", "run_id", metavar="RUN", help="Only this run.")
@click.option("--since", metavar="WHEN", help="Runs accepted since: 30m, 2h, 7d or a time. Else 24 hours.")
@service_options
@with_call
def statistics(call: Call, workflow: str | None, run_id: str | None, since: str | None) -> None:
    """Count runs, steps and retries, and how long they took."""
    call.log(default_level="warning")
    moment = read_since(since)

    async def read(services: Services) -> Statistics:
        nonlocal moment
        env = services.settings.env
        async with database(services) as conn:
            if run_id is not None:
                run = await get_run(conn, run_id)
                if run.env != env:
                    raise UnknownRun(run_id)
                moment = moment or run.created_at
            moment = moment or utc_now() - DAY
            return await read_statistics(conn, env, since=moment, workflow=workflow, run_id=run_id)

    with open_services(call) as services:
        found = run_async(lambda: read(services))
    told = _json(found)
    call.out.json({"since": iso(moment), "workflow": workflow, "run_id": run_id, **told})
    if not call.is_json:
        _show(call.out, found, told)


def _json(found: Statistics) -> dict[str, Any]:
    done, failed = found.by_status.get("COMPLETED", 0), sum(found.by_status.get(one, 0) for one in ENDED[1:])
    retried, recovered = sum(one.retried for one in found.steps), sum(one.recovered for one in found.steps)
    exhausted = sum(one.exhausted for one in found.steps)
    ran = sum(one.total - one.skipped - one.cancelled for one in found.steps)
    return {
        "runs": {
            "total": found.runs,
            "by_status": found.by_status,
            "success_rate": _share(done, done + failed),
            "failure_rate": _share(failed, done + failed),
            "seconds": msgspec.to_builtins(found.seconds),
        },
        "retries": {
            "steps": retried,
            "recovered": recovered,
            "exhausted": exhausted,
            "success_rate": _share(recovered, recovered + exhausted),
            "average_attempts": _share(sum(one.attempts for one in found.steps), ran),
        },
        "steps": [_without_longest(msgspec.to_builtins(one)) for one in found.steps],
        "workers": found.workers,
        "is_cut": found.is_cut,
    }


def _without_longest(step: dict[str, Any]) -> dict[str, Any]:
    if step["seconds"] is not None:
        step["seconds"].pop("longest")
    return step


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _show(out: Output, found: Statistics, told: dict[str, Any]) -> None:
    if not found.runs:
        out.text("no runs")
        return
    rows: list[tuple[str, str]] = []
    statuses = ", ".join(f"{count:,} {status_text(status)}" for status, count in sorted(found.by_status.items()))
    rows.append(("runs", statuses))
    if told["runs"]["success_rate"] is not None:
        rows.append(("succeeded", f"{told['runs']['success_rate']:.1%} of those that ended by themselves"))
    if found.seconds is not None:
        longest = "" if found.seconds.longest is None else f", longest {duration_text(found.seconds.longest)}"
        rows.append(("took", f"{_spread_text(found.seconds)}{longest}"))
    retries = told["retries"]
    if retries["steps"]:
        text = (
            f"{count_text(retries['steps'], 'step')}: {retries['recovered']:,} recovered, {retries['exhausted']:,} not"
        )
        rows.append(("retried", text))
    if retries["average_attempts"] is not None:
        rows.append(("attempts", f"{retries['average_attempts']:.2f} a step"))
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
