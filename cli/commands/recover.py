"""``courante recover``: rebuild what Redis has lost from the log, by hand, and say what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..call import Call, service_options, with_call
from ..event_loop import run_async
from ..exits import CliError, ExitCode
from ..output import Output
from ..services import Services, check_redis, database, open_services
from ..texts import count_text, duration_text

if TYPE_CHECKING:
    from ...supervisor.recovery.by_hand import ByHand, Done, Expected


@click.command()
@click.option("--partition", "partition", type=click.IntRange(min=0), metavar="N", help="Only this one.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("--force", is_flag=True, help="Also where nothing is lost: steps at hand are done again.")
@click.option("--accept-loss", is_flag=True, help="Where Postgres is behind Redis: take the log as it is.")
@service_options
@with_call
def recover(call: Call, partition: int | None, dry_run: bool, force: bool, accept_loss: bool) -> None:
    """Rebuild what Redis has lost from the log, by hand.

    Supervisors do it by themselves; they may go on meanwhile. Every unfinished run goes on where the log is; what
    workers have in their hands is void and done again. Where Postgres is behind Redis, nothing is done but to say so.
    """
    call.log(default_level="error")
    with open_services(call) as services:
        found = run_async(
            lambda: _recover(call, services, partition, dry_run=dry_run, is_forced=force, accepts_loss=accept_loss)
        )
    call.out.json({"dry_run": dry_run, "partitions": found})


async def _recover(
    call: Call, services: Services, partition: int | None, *, dry_run: bool, is_forced: bool, accepts_loss: bool
) -> list[dict[str, Any]]:
    from ...sdk.connections import close_redis, connect_redis
    from ...supervisor.recovery.by_hand import ByHand

    count = services.settings.partitions
    if partition is not None and partition >= count:
        message = f"there is no partition {partition}: this environment has {count}"
        raise CliError(ExitCode.USAGE, "no_such_partition", message, "COURANTE_PARTITIONS says how many there are")
    numbers = range(count) if partition is None else [partition]
    async with database(services):
        pass
    await check_redis(services)
    redis = connect_redis(services.redis_url)
    try:
        async with services.client() as client:
            by_hand = ByHand(redis, client, is_forced=is_forced, accepts_loss=accepts_loss)
            for number in numbers:
                await by_hand.look(number)  # what must not be done for one is done for none
            return [await _recover_one(call.out, by_hand, number, dry_run=dry_run) for number in numbers]
    finally:
        await close_redis(redis)


async def _recover_one(out: Output, by_hand: ByHand, number: int, *, dry_run: bool) -> dict[str, Any]:
    if dry_run:
        expected = await by_hand.preview(number)
        _show_expected(out, expected)
        return _expected_json(expected, number)
    done = await by_hand.recover(number)
    _show_done(out, done)
    return _done_json(done, number)


def _expected_json(expected: Expected, number: int) -> dict[str, Any]:
    return {
        "partition": number,
        "verdict": str(expected.standing.verdict),
        "reason": expected.standing.reason,
        "action": "would_recover" if expected.is_needed else "none",
        "epoch": expected.standing.look.cursor.epoch,
        "runs": expected.runs,
        "entries_to_record": expected.to_record,
        "entries_to_set_aside": expected.to_set_aside,
    }


def _done_json(done: Done, number: int) -> dict[str, Any]:
    said: dict[str, Any] = {
        "partition": number,
        "verdict": str(done.standing.verdict),
        "reason": done.standing.reason,
        "action": str(done.action),
        "epoch": done.standing.look.cursor.epoch,
    }
    recovered = done.recovered
    if recovered is None:
        return said
    rebuilt = recovered.rebuilt
    return said | {
        "epoch": recovered.epoch,
        "is_rebuilt": recovered.is_rebuilt,
        "events_drained": recovered.drained,
        "entries_set_aside": recovered.set_aside,
        "runs": rebuilt.runs,
        "tokens": rebuilt.tokens,
        "halted": rebuilt.halted,
        "payloads": rebuilt.blobs,
        "payloads_missing": rebuilt.blobs_missing,
        "starts_applied": done.starts,
        "seconds": recovered.seconds,
    }


def _show_expected(out: Output, expected: Expected) -> None:
    out.text(f"{out.glyph('ok' if not expected.is_needed else 'warning')} {expected.standing.reason}")
    if expected.is_needed:
        parts = [count_text(expected.runs, "run") + " would be rebuilt"]
        parts += [f"{count_text(expected.to_record, 'entry', 'entries')} recorded first"] if expected.to_record else []
        parts += [f"{count_text(expected.to_set_aside, 'entry', 'entries')} set aside"] if expected.to_set_aside else []
        out.text(f"    {', '.join(parts)}")


def _show_done(out: Output, done: Done) -> None:
    if done.recovered is None:
        out.text(f"{out.glyph('ok')} {done.standing.reason}; nothing was done")
        return
    recovered, rebuilt = done.recovered, done.recovered.rebuilt
    out.text(f"{out.glyph('ok')} {done.standing.reason}")
    what = f"{count_text(rebuilt.runs, 'run')} rebuilt" if recovered.is_rebuilt else "nothing was missing"
    out.text(f"    open in epoch {recovered.epoch} after {duration_text(recovered.seconds)}: {what}")
    rest = (
        (recovered.drained, "event", "events", "recorded first"),
        (recovered.set_aside, "entry", "entries", "of the outbox set aside: they do not continue the log"),
        (done.starts, "start", "starts", "applied again"),
        (rebuilt.halted, "run", "runs", "halted: their log cannot be followed"),
        (rebuilt.blobs_missing, "payload", "payloads", "missing in Postgres too"),
    )
    for count, word, words, text in rest:
        if count:
            out.text(f"    {count_text(count, word, words)} {text}")
