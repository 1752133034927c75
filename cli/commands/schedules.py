"""``courante schedules``: workflows that are started by the clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import click

from ...sdk.schedules.schedule import CatchUp, Overlap, Schedule, cadence_of, check_schedule
from ..actors import by_option
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..inputs import read_input, read_milliseconds, read_since, read_time
from ..paging import page_options
from ..services import ask_client
from ..texts import count_text, iso
from ..views.schedules import schedule_json, show_schedule, show_ticks, status_text, tick_json, when_text

if TYPE_CHECKING:
    from ...sdk.client.schedules import Schedules
    from ..remote.schedules import ApiSchedules

    Face: TypeAlias = Schedules | ApiSchedules

T = TypeVar("T")
NEXT_SHOWN = 3
_overlap = click.Choice([str(word) for word in Overlap])


@click.group()
@service_options
def schedules() -> None:
    """Start workflows by the clock: cron or intervals.

    Each tick is started once, by whichever supervisor comes first.
    """


@schedules.command("create")
@click.argument("id")
@click.argument("workflow")
@click.option("--cron", metavar="EXPR", help="Five fields, or six with seconds first; or @daily and the like.")
@click.option("--timezone", default="UTC", show_default=True, metavar="ZONE", help="Where cron's clock hangs.")
@click.option("--every", metavar="DURATION", help="Instead of --cron: 30s, 10m, 1h.")
@click.option("--anchor", metavar="TIME", help="What --every is counted from; left out: 1970-01-01T00:00Z.")
@click.option("--version", type=int, metavar="N", help="Version of the workflow; left out: the latest at each tick.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="One input; VALUE is JSON or text.")
@click.option("--input-file", metavar="FILE", help="The input as JSON or YAML; '-' reads standard input.")
@click.option("--jitter", default="0s", metavar="DURATION", help="Start each tick up to so much later.")
@click.option(
    "--catch-up",
    type=click.Choice([str(word) for word in CatchUp]),
    default=str(CatchUp.ONE),
    show_default=True,
    help="What to start of ticks that nobody was there for.",
)
@click.option("--catch-up-max", type=int, default=100, show_default=True, metavar="N", help="At most so many of them.")
@click.option("--grace", default="1m", show_default=True, metavar="DURATION", help="A tick is in time up to so late.")
@click.option(
    "--overlap",
    type=_overlap,
    default=str(Overlap.SKIP),
    show_default=True,
    help="What a tick does while a run goes on.",
)
@click.option("--starts", metavar="TIME", help="No tick before it.")
@click.option("--ends", metavar="TIME", help="No tick after it.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Word to find the runs by; may be repeated.")
@click.option("--note", default="", metavar="TEXT", help="For people.")
@click.option("--paused", is_flag=True, help="Make it, and start nothing yet.")
@click.option("--replace", is_flag=True, help="Take the place of a schedule with this id.")
@by_option
@service_options
@with_call
def create(
    call: Call,
    id: str,
    workflow: str,
    cron: str | None,
    timezone: str,
    every: str | None,
    anchor: str | None,
    version: int | None,
    inputs: tuple[str, ...],
    input_file: str | None,
    jitter: str,
    catch_up: str,
    catch_up_max: int,
    grace: str,
    overlap: str,
    starts: str | None,
    ends: str | None,
    tags: tuple[str, ...],
    note: str,
    paused: bool,
    replace: bool,
    by: str | None,
) -> None:
    """Make a schedule ID that starts WORKFLOW.

    The same again changes nothing. Strings of the input may hold {{ schedule.tick }} and {{ schedule.local }}.
    """
    asked = Schedule(
        id=id,
        workflow=workflow,
        version=version,
        input=read_input(inputs, input_file),
        cron=cron,
        every_ms=None if every is None else read_milliseconds(every, "--every"),
        anchor=_time(anchor, "--anchor"),
        timezone=timezone,
        jitter_ms=read_milliseconds(jitter, "--jitter"),
        catch_up=CatchUp(catch_up),
        catch_up_max=catch_up_max,
        grace_ms=read_milliseconds(grace, "--grace"),
        overlap=Overlap(overlap),
        tags=tags,
        starts_at=_time(starts, "--starts"),
        ends_at=_time(ends, "--ends"),
        by=by,
        note=note,
    )
    check_schedule(asked)  # before any server is started for it
    kept = _ask(call, lambda face: face.create(asked, replace=replace, is_paused=paused))
    call.out.json(schedule_json(kept))
    call.out.text(f"{call.out.glyph('ok')} {id} starts {workflow}: {when_text(kept.schedule)}")
    call.out.text(f"  {status_text(kept)}; next tick {iso(kept.next_tick) or 'never'}")
    call.out.next(f"courante schedules show {id}")


@schedules.command("list")
@page_options
@service_options
@with_call
def list_(call: Call, limit: int, after: str) -> None:
    """List schedules by id."""
    found = _ask(call, lambda face: face.list(limit=limit, after=after))
    following = found[-1].schedule.id if len(found) == limit else None
    call.out.json({"schedules": [schedule_json(kept) for kept in found], "next": following})
    if not found:
        call.out.text("no schedules")
        call.out.next("courante schedules create ID WORKFLOW --cron '0 2 * * *'")
        return
    rows = [
        [
            kept.schedule.id,
            kept.schedule.workflow,
            when_text(kept.schedule),
            status_text(kept),
            iso(kept.next_tick) or "",
        ]
        for kept in found
    ]
    call.out.table(["schedule", "workflow", "when", "status", "next"], rows)


@schedules.command("show")
@click.argument("id")
@click.option(
    "--limit", type=click.IntRange(0, 1000), default=10, show_default=True, metavar="N", help="So many of its ticks."
)
@service_options
@with_call
def show(call: Call, id: str, limit: int) -> None:
    """Show a schedule and its ticks.

    The next ones, and what became of the last ones.
    """

    async def read(face: Face) -> tuple[dict[str, object], Callable[[], None]]:
        kept, ticks = await face.get(id), await face.ticks(id, limit=limit)
        following = await face.next(id, NEXT_SHOWN)
        told: dict[str, object] = {
            **schedule_json(kept),
            "next": [iso(at) for at in following],
            "ticks": [tick_json(tick) for tick in ticks],
        }

        def tell() -> None:
            show_schedule(call.out, kept, following)
            if ticks:
                call.out.text()
                show_ticks(call.out, ticks)

        return told, tell

    told, tell = _ask(call, read)
    call.out.json(told)
    tell()


@schedules.command("pause")
@click.argument("id")
@click.option("--note", default="", metavar="TEXT", help="Why.")
@by_option
@service_options
@with_call
def pause(call: Call, id: str, note: str, by: str | None) -> None:
    """Start nothing by the clock until it is resumed.

    What waits is skipped.
    """
    kept = _ask(call, lambda face: face.pause(id, by=by, note=note))
    call.out.json(schedule_json(kept))
    call.out.text(f"{call.out.glyph('ok')} {id} is {status_text(kept)}")
    call.out.next(f"courante schedules resume {id}")


@schedules.command("resume")
@click.argument("id")
@service_options
@with_call
def resume(call: Call, id: str) -> None:
    """Go on with the next tick.

    What came during the pause is not made up for: that is for backfill.
    """
    kept = _ask(call, lambda face: face.resume(id))
    call.out.json(schedule_json(kept))
    call.out.text(f"{call.out.glyph('ok')} {id} is {status_text(kept)}; next tick {iso(kept.next_tick) or 'never'}")


@schedules.command("delete")
@click.argument("id")
@service_options
@with_call
def delete(call: Call, id: str) -> None:
    """Delete a schedule; its runs stay."""
    _ask(call, lambda face: face.delete(id))
    call.out.json({"id": id, "is_deleted": True})
    call.out.text(f"{call.out.glyph('ok')} {id} is deleted")


@schedules.command("trigger")
@click.argument("id")
@click.option(
    "--overlap",
    type=_overlap,
    default=str(Overlap.ALLOW),
    show_default=True,
    help="What to do while a run of it goes on.",
)
@by_option
@service_options
@with_call
def trigger(call: Call, id: str, overlap: str, by: str | None) -> None:
    """Start a run now, of a paused schedule too."""
    tick = _ask(call, lambda face: face.trigger(id, overlap=overlap, by=by))
    call.out.json({"id": id, **tick_json(tick)})
    call.out.text(f"{tick.state}: {tick.run_id or tick.reason or 'it waits for the run before'}")
    if tick.run_id is not None:
        call.out.next(f"courante status {tick.run_id}")


@schedules.command("backfill")
@click.argument("id")
@click.option("--since", required=True, metavar="WHEN", help="The first tick: 2h, 7d ago, or a time.")
@click.option("--until", metavar="WHEN", help="The last tick; left out: now.")
@click.option(
    "--overlap",
    type=_overlap,
    default=str(Overlap.BUFFER_ALL),
    show_default=True,
    help="What a tick does while another run of the backfill goes on.",
)
@by_option
@service_options
@with_call
def backfill(call: Call, id: str, since: str, until: str | None, overlap: str, by: str | None) -> None:
    """Start a run for each past tick that has had none."""
    begin, end = read_since(since), read_since(until, "--until")
    assert begin is not None
    done = _ask(call, lambda face: face.backfill(id, begin, end, overlap=overlap, by=by))
    call.out.json({"id": id, "ticks": len(done.ticks), "filled": [iso(at) for at in done.filled]})
    call.out.text(f"{count_text(len(done.ticks), 'tick')}, {len(done.filled):,} of them without a run until now")
    call.out.next(f"courante schedules show {id}")


@schedules.command("next")
@click.argument("id", required=False)
@click.option("--cron", metavar="EXPR", help="Instead of an ID: what this expression means. Needs no server.")
@click.option("--timezone", default="UTC", show_default=True, metavar="ZONE", help="For --cron.")
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True, metavar="N", help="So many.")
@service_options
@with_call
def next_(call: Call, id: str | None, cron: str | None, timezone: str, count: int) -> None:
    """Show the next ticks of a schedule, or of a cron expression."""
    if (id is None) == (cron is None):
        raise CliError(ExitCode.USAGE, "usage", "wanted either the ID of a schedule or --cron")
    found = _ask(call, lambda face: face.next(str(id), count)) if cron is None else _preview(cron, timezone, count)
    call.out.json({"id": id, "next": [iso(at) for at in found]})
    for at in found:
        call.out.text(str(iso(at)))
    if not found:
        call.out.text("never")


def _preview(cron: str, timezone: str, count: int) -> list[datetime]:
    asked = check_schedule(Schedule(id="preview", workflow="preview", cron=cron, timezone=timezone))
    now = datetime.now(UTC)
    return cadence_of(asked).first(count, now, now + timedelta(days=36_525))


def _ask(call: Call, ask: Callable[[Face], Awaitable[T]]) -> T:
    return ask_client(call, lambda client: ask(client.schedules))


def _time(text: str | None, option: str) -> datetime | None:
    return None if text is None else read_time(text, option)
