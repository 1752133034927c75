"""``courante health``: one word about an environment, and why."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import click
from click import style

from ..asking import ask
from ..call import Call, service_options, with_call
from ..exits import ExitCode
from ..output import Output
from ..remote.paths import at
from ..services import Services
from ..texts import count_text, duration_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ...api.wire.health import HealthShown
    from ...sdk.settings import Settings
    from ...sdk.stores.connection import Connection

COLOURS = {"HEALTHY": "green", "WARNING": "yellow", "CRITICAL": "red"}


@click.command()
@service_options
@with_call
def health(call: Call) -> int:
    """Say in one word whether all is well, and what is not.

    Servers, schema, supervisors, workers and queues, the outbox, the log, and what only a person can change. Nothing is
    started or changed. The exit code is 2 when it is CRITICAL.
    """
    import msgspec

    from ...api.wire.health import HealthShown
    from ...sdk.embedded import status

    settings = call.settings
    is_own = settings.api_url is None and None in (settings.redis_url, settings.database_url)
    if is_own and status(settings.home) is None:
        return _nothing_runs(call, settings)
    found = ask(call, _look, lambda api: api.get(at("health"), HealthShown), default_level="error")
    call.out.json(msgspec.to_builtins(found))
    if not call.is_json:
        _show(call.out, found)
    return ExitCode.SERVICE if found.status == "CRITICAL" else ExitCode.OK


async def _look(services: Services) -> HealthShown:
    from ...api.wire.health import health_shown
    from ...sdk.connections import close_redis, connect_redis
    from ...sdk.health.health import judge_health, limits_of
    from ...sdk.health.vitals import read_vitals
    from ...sdk.keys import Keys

    settings = services.settings
    redis = connect_redis(services.redis_url)
    try:
        vitals = await read_vitals(redis, lambda: _connect(services), Keys(settings.env), settings.partitions)
        return health_shown(judge_health(vitals, limits_of(settings), settings.env))
    finally:
        await close_redis(redis)


@asynccontextmanager
async def _connect(services: Services) -> AsyncGenerator[Connection]:
    import asyncpg

    connection = await asyncpg.connect(services.database_url)
    try:
        yield connection
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(2):
            await connection.close()


def _nothing_runs(call: Call, settings: Settings) -> int:
    message = f"the embedded servers in {settings.home} do not run"
    hint = "'courante up' starts everything; COURANTE_REDIS_URL and COURANTE_DATABASE_URL name other servers"
    reason: dict[str, str | None] = {"code": "servers_down", "severity": "CRITICAL", "message": message, "hint": hint}
    reason |= {"subject": "", "since": None}
    figures = {"runs": None, "workers": None, "partitions": None, "queues": None}
    call.out.json({"status": "CRITICAL", "reasons": [reason], **figures})
    call.out.text(_word("CRITICAL"))
    call.out.text(f"{call.out.glyph('error')} {message} [servers_down]")
    call.out.text(f"    {style('hint:', fg='cyan')} {hint}")
    return ExitCode.SERVICE


def _word(status: str) -> str:
    return style(status, fg=COLOURS[status], bold=True)


def _show(out: Output, found: HealthShown) -> None:
    out.text(_word(str(found.status)))
    for reason in found.reasons or ():
        out.text(
            f"{out.glyph('error' if reason.severity == 'CRITICAL' else 'warning')} {reason.message} [{reason.code}]"
        )
        if reason.hint:
            out.text(f"    {style('hint:', fg='cyan')} {reason.hint}")
    if found.workers is None or not found.partitions:
        return
    out.text()
    rows = [["workers", count_text(found.workers or 0, "worker")]]
    for one in found.partitions:
        behind = f", log {duration_text(one.lag_ms / 1000)} behind" if one.lag_ms else ""
        rows.append([f"partition {one.partition}", f"outbox {one.outbox:,} of {one.outbox_soft:,}{behind}"])
    for queue in found.queues or ():
        oldest = f", the first for {duration_text(queue.oldest_ms / 1000)}" if queue.waiting else ""
        paused = ", paused" if queue.is_paused else ""
        read = f"read by {count_text(queue.workers, 'worker')}"
        rows.append([f"queue {queue.queue}", f"{queue.waiting:,} waiting{oldest}, {read}{paused}"])
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        out.text(f"{style(name.ljust(width), bold=True)}  {text}")
