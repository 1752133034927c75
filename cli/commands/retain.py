"""``courante retain``: does what the retention policy says, and looks after archives of the log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ..call import Call, service_options, with_call
from ..confirming import confirm_for_good
from ..event_loop import run_async
from ..exits import CliError, ExitCode
from ..services import Services, check_redis, database, open_services
from ..texts import count_text, iso

if TYPE_CHECKING:
    from ...supervisor.retention.policy import Policy
    from ...supervisor.retention.retention import Plan, PlannedMonth, Retained, Retention


@click.group(invoke_without_command=True)
@click.option("--archive", metavar="DIR", help="Write months of the log there before they go; else: retain_archive.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked: in a pipe, with --json.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@service_options
@click.pass_context
def retain(context: click.Context, archive: str | None, yes: bool, dry_run: bool) -> None:
    """Archive, forget and delete what is older than the policy says.

    The policy is made of the settings retain_log, retain_payloads, retain_payloads_of, retain_artifacts, retain_runs
    and retain_cache; supervisors follow it too, every hour. Months of the log go as a whole, when all of their runs
    have ended for long enough.
    """
    if context.invoked_subcommand is None:
        call = context.find_object(Call)
        assert call is not None
        _retain(call, archive, is_sure=yes, is_dry=dry_run)


@retain.command()
@click.argument("file", type=click.Path(path_type=Path))
@service_options
@with_call
def verify(call: Call, file: Path) -> None:
    """Check an archive: its hash, its counts and every chain in it.

    Needs no server.
    """
    from ...supervisor.retention.archive import verify_archive

    manifest = _checked(lambda: verify_archive(file), file)
    call.out.json({"ok": True, **msgspec.to_builtins(manifest)})
    runs, events = count_text(manifest.runs, "run"), count_text(manifest.events, "event")
    call.out.text(f"{call.out.glyph('ok')} {manifest.month}: {events} of {runs}, the archive holds together")


@retain.command()
@click.argument("file", type=click.Path(path_type=Path))
@service_options
@with_call
def restore(call: Call, file: Path) -> None:
    """Put an archived month back into the log.

    Retention leaves it alone from then on.
    """
    from ...supervisor.retention.putting_back import put_back

    call.log(default_level="warning")

    async def go() -> Any:
        async with database(services):
            pass
        async with services.client() as client:
            return await put_back(client.pool, file)

    with open_services(call) as services:
        manifest = _checked(lambda: run_async(go), file)
    call.out.json({"restored": True, **msgspec.to_builtins(manifest)})
    runs, events = count_text(manifest.runs, "run"), count_text(manifest.events, "event")
    call.out.text(f"{call.out.glyph('ok')} {manifest.month} is back: {events} of {runs}")


def _checked(ask: Any, file: Path | None = None) -> Any:
    """Raises CliError for a file that cannot be read, or does not hold together."""
    from ...supervisor.retention.archive import ArchiveBroken

    try:
        return ask()
    except ArchiveBroken as error:
        raise CliError(ExitCode.INVALID, "archive_broken", f"{file}: {error}" if file else str(error)) from error
    except FileNotFoundError as error:
        raise CliError(ExitCode.NOT_FOUND, "file_not_found", f"there is no file {error.filename}") from error
    except OSError as error:
        raise CliError(ExitCode.USAGE, "file_unusable", f"{error.filename}: {error.strerror}") from error


def _retain(call: Call, archive: str | None, *, is_sure: bool, is_dry: bool) -> None:
    from ...supervisor.retention.policy import policy_of

    call.log(default_level="warning")
    policy = policy_of(call.settings, archive)
    with open_services(call) as services:
        if not policy.is_set and call.out.is_json is False:
            call.out.note(
                "no policy is set: nothing but expired outputs in the cache goes; see docs/how-to/retention.md"
            )
        told = _checked(lambda: run_async(lambda: _carry_out(call, services, policy, is_sure=is_sure, is_dry=is_dry)))
    call.out.json({"dry_run": is_dry, **told})


async def _carry_out(call: Call, services: Services, policy: Policy, *, is_sure: bool, is_dry: bool) -> dict[str, Any]:
    from ...sdk.connections import close_redis, connect_redis
    from ...supervisor.retention.retention import Retention

    async with database(services):
        pass
    await check_redis(services)
    redis = connect_redis(services.redis_url)
    try:
        async with services.client() as client:
            partitions = services.settings.partitions
            retention = Retention(redis, client.pool, client.keys, policy, partitions=partitions)
            plan = await retention.plan()
            if is_dry:
                _show(call, plan.months, plan, verb="would be")
                return _to_json(plan.months, plan, archives=[], failed={})
            return await _go(call, retention, plan, policy, is_sure=is_sure)
    finally:
        await close_redis(redis)


async def _go(call: Call, retention: Retention, plan: Plan, policy: Policy, *, is_sure: bool) -> dict[str, Any]:
    lost = [one.name for one in plan.months if not one.kept and policy.archive is None]
    if lost:
        confirm_for_good(call, f"delete {', '.join(lost)} without an archive?", is_sure=is_sure)
    done = await retention.carry_out()
    _show(call, done.months, done, verb="were")
    for name, reason in done.failed.items():
        verb = "dropped" if name == "artifacts" else "taken out"
        call.out.text(f"{call.out.glyph('warning')} {name} could not be {verb}: {reason}")
    return _to_json(done.months, done, archives=msgspec.to_builtins(list(done.archives)), failed=done.failed)


def _show(call: Call, months: Sequence[PlannedMonth], counts: Plan | Retained, *, verb: str) -> None:
    out = call.out
    for one in months:
        size = f"{count_text(one.events, 'event')} of {count_text(one.runs, 'run')}"
        if one.kept:
            out.text(f"{out.glyph('warning')} {one.name} stays: {one.kept}")
        else:
            out.text(f"{out.glyph('ok')} {one.name} {'would be' if verb == 'would be' else 'was'} taken out: {size}")
    words = (
        (counts.payloads, "run", "forgotten"),
        (counts.artifacts, "artifact", "dropped"),
        (counts.runs, "archived run", "deleted"),
        (counts.cache, "cached output", "deleted"),
    )
    for count, noun, done in words:
        if count:
            out.text(f"{out.glyph('ok')} {count_text(count, noun)} {verb} {done}")
    if not months and not any(count for count, _, _ in words):
        out.text(f"{out.glyph('idle')} nothing is old enough")


def _to_json(
    months: Sequence[PlannedMonth], counts: Plan | Retained, *, archives: Sequence[Any], failed: dict[str, str]
) -> dict[str, Any]:
    return {
        "months": [
            {
                "name": one.name,
                "starts": iso(one.starts),
                "ends": iso(one.ends),
                "events": one.events,
                "runs": one.runs,
                "kept": one.kept or None,
            }
            for one in months
        ],
        "archives": list(archives),
        "failed": failed,
        "forgotten": counts.payloads,
        "dropped_artifacts": counts.artifacts,
        "deleted_runs": counts.runs,
        "swept_cache": counts.cache,
    }
