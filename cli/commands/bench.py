"""``courante bench``: one question, measured on this machine; docs/reference/bench.md says how."""

from __future__ import annotations

from typing import cast

import click
from click import style

from ..call import Call, service_options, with_call
from ..event_loop import run_async
from ..exits import CliError, ExitCode

HEAD = ("name", "question", "unit", "median", "p99", "min", "max", "samples", "ratio", "machine", "commit")


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--repetitions", type=click.IntRange(1, 1000), metavar="N", help="How often it is measured; left out: 5.")
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Runs per repetition (limit: tokens, makespan: steps, replay: events).",
)
@click.option("--events", type=click.IntRange(min=4), metavar="N", help="Only of replay: events of the run.")
@service_options
@with_call
def bench(call: Call, name: str, repetitions: int | None, runs: int | None, events: int | None) -> None:
    """Measure one question on this machine.

    NAME is limit, chain, fanout, throughput, map, cache, growth, makespan, memory, recovery, replay or api. A rate
    comes with its ratio to the limit that is measured next to it. Without URLs the benchmark has servers of its own.
    Progress goes to stderr.
    """
    from ...bench.main import REPETITIONS, run_bench

    if events is not None and (name != "replay" or runs is not None):
        hint = "of the others --runs says how much one repetition takes" if runs is None else "give one of them"
        raise CliError(ExitCode.USAGE, "usage", "--events is only for 'bench replay', and without --runs", hint)
    call.log(default_level="error")
    found = run_async(
        lambda: run_bench(
            name, call.settings, call.out.note, repetitions=repetitions or REPETITIONS, runs=events or runs
        ),
        is_daemon=True,
    )
    call.out.json(found)
    if not call.is_json:
        _show(call, found)


def _show(call: Call, found: dict[str, object]) -> None:
    out = call.out
    out.text(f"{style(str(found['name']), bold=True)}: {found['question']}")
    spread = f"p99 {_text(found['p99'])}, {_text(found['min'])} to {_text(found['max'])}"
    median = style(f"{_text(found['median'])} {found['unit']}", fg="green", bold=True)
    out.text(f"  median    {median} of {_text(found['samples'])} samples ({spread})")
    if found["ratio"] is not None:
        out.text(f"  ratio     {_text(found['ratio'])} of the limit measured next to it")
    for name, value in found.items():
        if name not in HEAD:
            out.text(f"  {name.replace('_', ' ').ljust(9)} {_text(value)}")
    out.text(f"  {style('machine', dim=True)}   {style(_text(found['machine']), dim=True)}")
    if "commit" in found:
        out.text(f"  {style('commit', dim=True)}    {style(str(found['commit']), dim=True)}")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in cast("dict[str, object]", value).items())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}"
