"""``courante bench``: one question, measured on this machine; what is compared and how stands with each benchmark."""

from __future__ import annotations

from typing import Any

import click
from click import style

from ..call import Call, service_options, with_call
from ..services import run_async

NAMES = ("limit", "chain", "fanout", "throughput", "map", "recovery", "cache", "replay", "api", "memory")


@click.command()
@click.argument("name", type=click.Choice(NAMES), metavar="NAME")
@service_options
@with_call
def bench(call: Call, name: str) -> None:
    """Measure one question on this machine.

    NAME is one of limit, chain, fanout, throughput, map, recovery, cache, replay, api, memory. Every rate comes with
    its ratio to the limit that is measured in the same run. Progress goes to stderr.
    """
    from ...bench.main import run_bench

    call.log(default_level="warning")
    call.out.step(f"measuring {name}")

    found: dict[str, Any] = run_async(lambda: run_bench(name, call.settings), is_daemon=True)
    call.out.json(found)
    call.out.text(style(str(found.get("name", name)), bold=True))
    for field, value in found.items():
        if field != "name":
            call.out.text(f"  {field:<18} {_text(value)}")


def _text(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
