"""``courante worker`` and ``courante supervisor``: the daemons in the foreground, for a process manager to run."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

import anyio
import click
import structlog

from ...sdk.authoring.steps import Steps
from ...sdk.connections import close_redis, connect_redis
from ...sdk.floor.presence import forget_supervisor
from ..apps import load_apps
from ..call import Call, service_options, setting_option, with_call
from ..crew import make_supervisor, make_worker
from ..endpoint import served
from ..event_loop import run_async
from ..exits import CliError, ExitCode
from ..inspection import require_safe, require_safe_redis
from ..last_resort import LastResort
from ..services import Services, database, open_services
from ..signals import watch_signals

log = structlog.get_logger()

metrics_port = setting_option(
    "--metrics-port", "metrics_port", metavar="PORT", help="Serve /metrics, /live, /ready and /drain there."
)
stop_on_eof = click.option("--stop-on-eof", is_flag=True, hidden=True, help="End when standard input closes.")


@click.command()
@click.option("--app", "apps", multiple=True, metavar="MODULE", help="Module of steps to import; may be repeated.")
@click.option(
    "--queues", default="default", show_default=True, metavar="Q,...", help="Queues to read, joined by commas."
)
@setting_option("--concurrency", "concurrency", metavar="N", help="Steps at once; left out: 128.")
@setting_option(
    "--lease-ms", "lease_ms", metavar="MS", help="How long a silent worker keeps a step, in ms; left out: 30000."
)
@metrics_port
@stop_on_eof
@service_options
@with_call
def worker(call: Call, apps: tuple[str, ...], queues: str, stop_on_eof: bool) -> None:
    """Run a worker until it is told to stop.

    SIGTERM or Ctrl-C: take no more and finish what is at hand; once more: drop it, others take it over. Where only the
    URL of Redis is set, it leaves to others what needs data that are not in Redis any more.
    """
    call.log()
    names = read_queues(queues)
    steps = load_apps(apps)
    with open_services(call, needs_postgres=False) as services:
        if not services.database_url:
            log.warning("postgres_not_named", hint="set database_url: what has left Redis is read there")
        run_async(lambda: _work(call, services, steps, names, has_parent=stop_on_eof), is_daemon=True)


@click.command()
@metrics_port
@stop_on_eof
@service_options
@with_call
def supervisor(call: Call, stop_on_eof: bool) -> None:
    """Run a supervisor until it is told to stop.

    It completes runs, releases timers and writes the log. Several may run side by side. SIGTERM or Ctrl-C ends it.
    """
    call.log()
    with open_services(call) as services:
        run_async(lambda: _supervise(call, services, has_parent=stop_on_eof), is_daemon=True)


def read_queues(text: str) -> list[str]:
    """Queue names from ``a,b``. Raises CliError where none is left."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise CliError(
            ExitCode.USAGE, "bad_queues", f"--queues {text!r} names no queue", "for example --queues default,gpu"
        )
    return names


async def _work(call: Call, services: Services, steps: Steps, queues: list[str], *, has_parent: bool) -> None:
    await require_safe_redis(services)
    worker = make_worker(services, steps, queues)
    settings = services.settings
    last = LastResort(worker.blocked_s, settings.stop_grace_ms / 1000, has_parent=has_parent)

    async def run() -> None:
        last.watch()
        await worker.run()

    with (
        served(settings, "worker", worker.name, worker.series, unready=worker.unready, drain=worker.stop),
        call.out.aside(),
    ):
        await serve(run, worker.stop, worker.kill, has_parent=has_parent)
    call.out.json({"worker": worker.name, "applied": worker.applied, "refused": worker.refused})


async def _supervise(call: Call, services: Services, *, has_parent: bool) -> None:
    await require_safe(services)
    async with database(services):
        pass
    settings = services.settings
    supervisor = make_supervisor(services)
    series, unready = supervisor.series, supervisor.unready
    with (
        served(settings, "supervisor", supervisor.name, series, unready=unready, drain=supervisor.stop),
        anyio.CancelScope() as scope,
    ):
        await serve(supervisor.run, supervisor.stop, scope.cancel, has_parent=has_parent)
    redis = connect_redis(services.redis_url)
    with anyio.CancelScope(shield=True), anyio.move_on_after(2):
        await forget_supervisor(redis, settings.env, settings.partitions, supervisor.name)
    await close_redis(redis)
    call.out.json({"supervisor": supervisor.name})


async def serve(
    run: Callable[[], Awaitable[None]], stop: Callable[[], None], kill: Callable[[], None], *, has_parent: bool
) -> None:
    """Run a daemon to its end; signals, and the end of a parent, ask for it."""
    async with anyio.create_task_group() as group:
        await group.start(watch_signals, stop, kill)
        if has_parent:
            group.start_soon(_watch_parent, stop)
        await run()
        group.cancel_scope.cancel()


async def _watch_parent(stop: Callable[[], None]) -> None:
    """Standard input is a pipe from whoever started us and never writes: it ends when they do, by whatever cause."""
    await anyio.wait_readable(sys.stdin.fileno())
    log.info("parent_gone")
    stop()
