"""``courante api``: the HTTP API in the foreground, for a process manager to run."""

from __future__ import annotations

import socket

import click
from click import style

from ..call import Call, service_options, setting_option, with_call
from ..exits import CliError, ExitCode
from ..inspection import require_safe
from ..services import Services, connected_client, open_services, run_async
from .daemons import serve, stop_on_eof


@click.command()
@setting_option("--host", "api_host", metavar="ADDRESS", help="Address to listen to; left out: this machine only.")
@setting_option("--port", "api_port", metavar="N", help="Port to listen to; 0 for any that is free.")
@click.option("--listen-fd", type=int, hidden=True, help="A socket of a parent that listens already.")
@stop_on_eof
@service_options
@with_call
def api(call: Call, listen_fd: int | None, stop_on_eof: bool) -> None:
    """Serve the HTTP API until it is told to stop.

    Several may run side by side. SIGTERM or Ctrl-C ends it when the requests at hand are answered; once more drops
    them. GET /v1/openapi.json describes all there is.
    """
    call.log()
    listening = open_socket(call) if listen_fd is None else socket.socket(fileno=listen_fd)
    with listening, open_services(call) as services:
        run_async(lambda: _serve(call, services, listening, has_parent=stop_on_eof), is_daemon=True)


def open_socket(call: Call) -> socket.socket:
    """Listen where the settings say. Raises CliError."""
    from ...api.server import listen

    host, port = call.settings.api_host, call.settings.api_port
    try:
        return listen(host, port)
    except OSError as cause:
        message = f"the API cannot listen to {host} port {port}: {cause.strerror or cause}"
        hint = "give another --port or --host, or end what listens there"
        raise CliError(ExitCode.SERVICE, "cannot_listen", message, hint) from cause


async def _serve(call: Call, services: Services, listening: socket.socket, *, has_parent: bool) -> None:
    from ...api.app import as_anybody, build_app
    from ...api.backend import Backend
    from ...api.server import Server, is_loopback, url_of

    settings, url = services.settings, url_of(listening)
    if not is_loopback(listening):
        message = f"{url} can be reached from other machines, and no keys are asked for"
        raise CliError(ExitCode.SERVICE, "api_open_to_all", message, "leave out --host: then only this machine asks")
    await require_safe(services)
    async with connected_client(services) as client:
        server = Server(as_anybody(build_app(Backend(client, settings)), settings.env))
        call.out.json({"api": {"url": url}})
        call.out.text(f"{call.out.glyph('ok')} the API listens at {style(url, bold=True)}, env {settings.env}")
        call.out.text(f"{call.out.glyph('warning')} no key is needed: whoever is on this machine may do everything")
        call.out.next(f"curl {url}/v1/health")
        await serve(lambda: server.run_on(listening), server.stop, server.kill, has_parent=has_parent)
