"""``courante cache``: outputs of steps that are kept; how often they are taken, and making them void."""

from __future__ import annotations

import sys

import click
import msgspec

from ...api.wire.cache import CacheTotal, cache_page, invalidate_done
from ...compiler.durations import parse_duration
from ...sdk.caching.cache_keys import read_key
from ...sdk.client.step_caching import Invalidated
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..services import ask_client
from ..texts import count_text


@click.group()
@service_options
def cache() -> None:
    """Outputs of steps that are kept: count them, or make them void.

    Which steps keep theirs stands in the workflow: 'cache: global', 'cache: {scope: run_only, ttl: 1h}'.
    """


@cache.command()
@click.option("--workflow", metavar="ID", default="", help="Only of this workflow.")
@click.option("--step", metavar="STEP", default="", help="Only of this step.")
@service_options
@with_call
def stats(call: Call, workflow: str, step: str) -> None:
    """Tell what is kept and how often it was taken, by workflow and step.

    A hit is an output that was taken, a miss one that had to be made and was kept; both are counted by the log.
    """
    found = ask_client(call, lambda client: client.step_cache.statistics(workflow=workflow, step=step))
    page = cache_page(found)
    call.out.json(msgspec.to_builtins(page))
    if call.is_json:
        return
    if not found:
        call.out.text("no outputs are kept, and none were taken")
        return
    rows = [["workflow", "step", "outputs", "bytes", "hits", "misses", "hit rate"]]
    rows += [_row(one.workflow, one.step, one) for one in page.steps]
    if len(found) > 1:
        rows.append(_row("total", "", page.total))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        named = [cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False)]
        counted = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        call.out.text("  ".join(named + counted).rstrip())


@cache.command()
@click.option("--key", metavar="KEY", default="", help="One output: <workflow>:<step>:<hash>, as the log names it.")
@click.option("--workflow", metavar="ID", default="", help="Those of this workflow.")
@click.option("--step", metavar="STEP", default="", help="Those of this step.")
@click.option("--older-than", metavar="AGE", default="", help="Only those that were made so long ago: 30m, 2h, 7d.")
@click.option("--all", "is_all", is_flag=True, help="All of them.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@click.option("--yes", is_flag=True, help="Do not ask; a pipe and --json are never asked.")
@service_options
@with_call
def invalidate(
    call: Call, key: str, workflow: str, step: str, older_than: str, *, is_all: bool, dry_run: bool, yes: bool
) -> None:
    """Make outputs void that are kept: they are never taken again, wherever they are, also those recorded later.

    An attempt that began before counts as made then. Steps that run after it make their outputs anew, and keep them.
    """
    older_ms = _age_ms(older_than)
    if not (key or workflow or step or older_ms or is_all):
        raise _usage("which outputs is not said", "--key, --workflow, --step, --older-than or --all")
    if is_all and (key or workflow or step):
        raise _usage("--all is all of them", "leave --all out, or the others")
    if key and (workflow or step):
        raise _usage("a key names its workflow and step itself", "leave --workflow and --step out")
    if key and read_key(key) is None:
        raise _usage(f"{key[:200]!r} is no key of an output", "<workflow>:<step>:<hash>, as 'courante events' shows it")

    def ask(*, is_dry: bool) -> Invalidated:
        return ask_client(
            call,
            lambda client: client.step_cache.invalidate(
                key=key, workflow=workflow, step=step, older_than_ms=older_ms, is_all=is_all, dry_run=is_dry
            ),
        )

    if not (dry_run or yes or call.is_json) and sys.stdin.isatty():
        entries = count_text(ask(is_dry=True).entries, "output")
        if not click.confirm(f"make {entries} void?", err=True):
            raise CliError(ExitCode.CANCELLED, "not_confirmed", "nothing was changed", "--yes does it without asking")
    done = ask(is_dry=dry_run)
    call.out.json(msgspec.to_builtins(invalidate_done(done, is_dry=dry_run)))
    if not call.is_json:
        entries = count_text(done.entries, "output")
        places = f"{done.postgres:,} in Postgres, {done.redis:,} in Redis"
        call.out.text(f"{entries} would be void ({places})" if dry_run else f"{entries} made void ({places})")


def _age_ms(written: str) -> int:
    ms = parse_duration(written) if written else 0
    if ms is None or (written and not ms):
        raise _usage(f"--older-than: {written[:100]!r} is no age", "30m, 2h or 7d")
    return ms


def _usage(message: str, hint: str) -> CliError:
    return CliError(ExitCode.USAGE, "usage", message, hint)


def _row(workflow: str, step: str, one: CacheTotal) -> list[str]:
    rate = "-" if one.hit_rate is None else f"{one.hits / (one.hits + one.misses):.1%}"
    return [workflow, step, f"{one.entries:,}", f"{one.bytes:,}", f"{one.hits:,}", f"{one.misses:,}", rate]
