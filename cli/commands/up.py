"""``courante up`` and ``courante down``: everything on this machine, started and stopped as one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
import click
from click import style

from ...sdk import embedded
from ...sdk.authoring.steps import Steps
from ...sdk.connections import close_redis, connect_redis
from ...sdk.floor.presence import find_workers, has_supervisor
from ...sdk.settings import Settings, variable_of
from ..api_socket import is_loopback, listen_for_api, url_of, wait_for_api
from ..apps import load_apps
from ..call import Call, service_options, setting_option, with_call
from ..children import Child, environment_of
from ..endpoint import wants_endpoint
from ..event_loop import run_async
from ..exits import CliError, ExitCode
from ..inspection import Inspection, require_safe
from ..services import Services, connected_client, open_services, refuse_api
from ..signals import watch_signals
from ..uplock import UpLock, facts_of, running_ups, start_detached, stop_up
from .daemons import read_queues

READY_S = 30.0
METRICS_PORT = variable_of("metrics_port")
LOOK_S = 0.05


@click.command()
@click.option("--app", "apps", multiple=True, metavar="MODULE", help="Module of steps to import; may be repeated.")
@click.option(
    "--queues", default="default", show_default=True, metavar="Q,...", help="Queues to read, joined by commas."
)
@click.option(
    "--workers", type=click.IntRange(0, 256), default=1, show_default=True, metavar="N", help="Worker processes."
)
@setting_option("--concurrency", "concurrency", metavar="N", help="Steps at once, per worker; left out: 128.")
@click.option("--detach", is_flag=True, help="Return when all is ready; 'courante down' stops it.")
@service_options
@with_call
def up(call: Call, apps: tuple[str, ...], queues: str, workers: int, detach: bool) -> None:
    """Start everything on this machine: servers, workers, supervisor, API.

    Servers are embedded where no URL is set. Without --detach it runs until Ctrl-C or SIGTERM, which lets the steps at
    hand finish; once more drops them.
    """
    call.log()
    refuse_api(call)
    names = read_queues(queues)
    _check(call.settings, load_apps(apps))
    words = ["--queues", ",".join(names), *(word for app in apps for word in ("--app", app))]
    if detach:
        _detach(call, [*words, "--workers", str(workers)], apps)
        return
    lock = UpLock(call.settings.home, call.settings.env)
    with lock.taken() as other:
        if other is not None:
            _say_running(call, other, apps)
            return
        with open_services(call) as services, listen_for_api(call) as listening:
            run_async(lambda: _stay_up(call, services, lock, words, workers, listening), is_daemon=True)


@click.command()
@service_options
@with_call
def down(call: Call) -> None:
    """Stop what 'up' started, and the embedded servers.

    Steps at hand are finished first, for up to half a minute, and given back after that. Every environment of this home
    is stopped: they share the servers. What is stored stays.
    """
    call.log(default_level="warning")
    home = call.settings.home
    stopped: list[str] = []
    servers = embedded.status(home)
    for running in running_ups(home):
        call.out.step(f"stopping env {running.env} (pid {running.pid})")
        stop_up(running)
        stopped.append(running.env)
    ran = embedded.shut_down(home) or servers is not None  # they may have ended by themselves in between
    url = {"redis": servers.redis_url, "postgres": servers.database_url} if ran and servers is not None else {}
    call.out.json(
        {
            "redis": {"url": url.get("redis"), "version": servers.redis_version if ran and servers else None},
            "postgres": {"url": url.get("postgres"), "version": servers.postgres_version if ran and servers else None},
            "api": {"url": None},
            "stopped": stopped,
        }
    )
    if stopped:
        call.out.text(f"{call.out.glyph('ok')} stopped workers and supervisor of {', '.join(stopped)}")
    if ran:
        call.out.text(f"{call.out.glyph('ok')} stopped the embedded servers in {home}")
    if not stopped and not ran:
        call.out.text(f"nothing runs in {home}")


def _check(settings: Settings, steps: Steps) -> None:
    """Raise CliError for what no worker could begin with: else only its log would say so, again and again."""
    from ..crew import read_otlp_url, read_prices, read_tools

    read_prices(settings)
    read_tools(settings, steps)
    read_otlp_url(settings)
    wants_endpoint(settings)


async def _stay_up(
    call: Call, services: Services, lock: UpLock, words: list[str], count: int, listening: socket.socket
) -> None:
    from ...api.security.opening import is_open_to_all

    found = await require_safe(services)
    settings, is_own = services.settings, services.is_own_redis and services.is_own_database
    async with connected_client(services) as client:
        await is_open_to_all(  # the API would not start without a key, and this would wait for it
            client.access,
            is_loopback=is_loopback(listening),
            is_embedded=is_own,
            is_required=settings.api_key_required,
        )
    environment = environment_of(settings, redis_url=services.redis_url, database_url=services.database_url)
    supervisor = Child(["supervisor"], environment)
    own = ["--embedded"] if is_own else []
    words_of_api = ["api", "--listen-fd", str(listening.fileno()), *own]
    api = Child(words_of_api, _with_port(environment, count + 1), files=[listening.fileno()])
    workers = [Child(["worker", *words], _with_port(environment, number)) for number in range(1, count + 1)]
    failures: list[CliError] = []

    def fail(error: CliError) -> None:
        """Say so once all have ended in order, unless they were told to before."""
        if not api.is_stopping:
            failures.append(error)
            stop_all()

    def stop() -> None:
        if not call.is_json:
            call.out.note("stopping: the steps at hand are finished; once more drops them")
        stop_workers()
        api.stop()
        if not workers:
            supervisor.stop()

    def stop_workers() -> None:
        for child in workers:
            child.stop()

    def stop_all() -> None:
        stop_workers()
        api.stop()
        if all(child.has_ended for child in workers):
            supervisor.stop()

    async with anyio.create_task_group() as group:
        await group.start(watch_signals, stop, stop_all)
        group.start_soon(_announce, call, services, lock, found, [supervisor, *workers, api], listening, fail)
        async with anyio.create_task_group() as alive:
            alive.start_soon(supervisor.run)
            alive.start_soon(api.run)
            async with anyio.create_task_group() as working:
                for child in workers:
                    working.start_soon(child.run)
            if workers:
                supervisor.stop()  # last: it records what the workers did to the end
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]


def _with_port(environment: dict[str, str], number: int) -> dict[str, str]:
    """The supervisor serves its metrics at the port of the settings, workers and then the API at those that follow."""
    port = environment.get(METRICS_PORT, "0")
    return environment if port == "0" else environment | {METRICS_PORT: str(int(port) + number)}


async def _announce(
    call: Call,
    services: Services,
    lock: UpLock,
    found: Inspection,
    children: list[Child],
    listening: socket.socket,
    fail: Callable[[CliError], None],
) -> None:
    """Say what runs, once it does; fail where the API never answers."""
    await _wait_until_ready(services, children)
    url = url_of(listening)
    try:
        with anyio.fail_after(READY_S):
            await wait_for_api(url)
    except TimeoutError:
        message = f"the API has not answered at {url} within {READY_S:.0f} s, so all is stopped"
        hint = "the log says why: look for the child 'api', or run 'courante api' by itself"
        fail(CliError(ExitCode.SERVICE, "api_unreachable", message, hint))
        return
    facts = {name: value for name, value in found.to_json().items() if name != "problems"}
    facts["api"] = {"url": url}
    lock.write(facts)
    call.out.json(facts)
    if not call.is_json:
        _show(call, services, found, children, url)


async def _wait_until_ready(services: Services, children: list[Child]) -> None:
    """Return when the children do their work, or after a while in any case: the logs say why one does not."""
    settings = services.settings
    redis = connect_redis(services.redis_url)
    try:
        with anyio.move_on_after(READY_S):
            while True:
                pids = {w.pid for w in await find_workers(services.redis_url, settings.env, settings.partitions)}
                are_working = all(child.pid in pids for child in children if child.name == "worker")
                if are_working and await has_supervisor(redis, settings.env, settings.partitions):
                    return
                await anyio.sleep(LOOK_S)
    finally:
        await close_redis(redis)


def _show(call: Call, services: Services, found: Inspection, children: list[Child], url: str) -> None:
    out, settings = call.out, services.settings
    out.text(f"{out.glyph('ok')} courante is up, env {style(settings.env, bold=True)}")
    rows = [
        ("redis", f"{found.redis_version}{', embedded' if found.is_own_redis else ''}  {found.redis_url}"),
        ("postgres", f"{found.postgres_version}{', embedded' if found.is_own_database else ''}  {found.database_url}"),
    ]
    for child in children:
        slots = f", {settings.concurrency} steps at once" if child.name == "worker" else ""
        slots = f"  {url}, with the page" if child.name == "api" else slots
        rows.append((child.name, f"pid {child.pid}{slots}"))
    for name, text in rows:
        out.text(f"  {style(name.ljust(10), bold=True)} {text}")
    out.next("courante run FILE   (Ctrl-C stops everything)")


def _say_running(call: Call, facts: dict[str, object], apps: Sequence[str]) -> None:
    """``up`` runs already: that is what was wanted, if its workers have the modules that are named now."""
    call.out.json({name: facts.get(name) for name in ("redis", "postgres", "api")})
    call.out.text(f"{call.out.glyph('ok')} already up (pid {facts.get('pid')}); 'courante down' stops it")
    _say_page(call, facts)
    if apps:
        named = " ".join(f"--app {app}" for app in apps)
        call.out.note(f"{call.out.glyph('warning')} {named} changes nothing of what is up: 'courante down' first")


def _say_page(call: Call, facts: Mapping[str, Any]) -> None:
    api: dict[str, str] | None = facts.get("api")
    if api:
        call.out.text(f"  {style('page', bold=True)} {api['url']}")


def _detach(call: Call, words: list[str], apps: Sequence[str]) -> None:
    settings = call.settings
    running = facts_of(settings.home, settings.env)
    if running.get("redis"):  # what is starting is waited for below
        _say_running(call, running, apps)
        return
    call.out.step(f"starting in the background, with logs in {settings.home / 'logs'}")
    flags = [word for name, value in call.flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    facts = start_detached(settings.home, settings.env, [*words, *flags])
    if "error" in facts:
        error = facts["error"]
        raise CliError(ExitCode(facts["exit_code"]), error["code"], error["message"], error["hint"])
    call.out.json(facts)
    pid = facts_of(settings.home, settings.env).get("pid", "?")
    call.out.text(f"{call.out.glyph('ok')} courante is up, env {settings.env}, pid {pid}")
    _say_page(call, facts)
    call.out.next("courante run FILE, courante doctor, courante down")
