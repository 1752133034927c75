"""``courante api``: the HTTP API in the foreground, for a process manager to run."""

from __future__ import annotations

import socket

import click
from click import style

from ...sdk.settings import Settings
from ..api_socket import is_loopback, open_socket, url_of
from ..call import Call, service_options, setting_option, with_call
from ..endpoint import served
from ..event_loop import run_async
from ..inspection import require_safe
from ..services import Services, connected_client, open_services
from .daemons import metrics_port, serve, stop_on_eof


@click.command()
@setting_option("--host", "api_host", metavar="ADDRESS", help="Address to listen to; left out: this machine only.")
@setting_option("--port", "api_port", metavar="N", help="Port to listen to; left out: 8420; 0 for any that is free.")
@click.option("--listen-fd", type=int, hidden=True, help="A socket of a parent that listens already.")
@click.option("--embedded", is_flag=True, hidden=True, help="The servers whose URLs are given are the embedded ones.")
@metrics_port
@stop_on_eof
@service_options
@with_call
def api(call: Call, listen_fd: int | None, embedded: bool, stop_on_eof: bool) -> None:
    """Serve the HTTP API until it is told to stop.

    Several may run side by side. SIGTERM or Ctrl-C ends it when the requests at hand are answered; once more drops
    them. GET /v1/openapi.json describes all there is; in a browser the address is a page.
    """
    call.log()
    listening = open_socket(call) if listen_fd is None else socket.socket(fileno=listen_fd)
    with listening, open_services(call) as services:
        is_embedded = embedded or (services.is_own_redis and services.is_own_database)
        run_async(
            lambda: _serve(call, services, listening, is_embedded=is_embedded, has_parent=stop_on_eof), is_daemon=True
        )


async def _serve(
    call: Call, services: Services, listening: socket.socket, *, is_embedded: bool, has_parent: bool
) -> None:
    from ...api.app import build_app
    from ...api.backend import open_backend
    from ...api.metering import Meter
    from ...api.security.opening import is_open_to_all
    from ...api.security.serving import guard, server_options
    from ...api.server import Server

    meter = Meter()
    settings, url, is_local = services.settings, url_of(listening), is_loopback(listening)
    await require_safe(services)
    async with connected_client(services) as client, open_backend(client, settings, services.redis_url) as backend:
        is_open = await is_open_to_all(
            client.access, is_loopback=is_local, is_embedded=is_embedded, is_required=settings.api_key_required
        )
        gate = guard(build_app(backend), client, settings, is_open=is_open, is_loopback=is_local, note=meter.note)
        server = Server(gate, on_stop=backend.stop, **server_options(settings))
        with served(settings, "api", url, lambda: meter.sources(backend), unready=server.unready, drain=server.stop):
            _announce(call, settings, url, is_open=is_open, is_local=is_local)
            await serve(lambda: server.run_on(listening), server.stop, server.kill, has_parent=has_parent)


def _announce(call: Call, settings: Settings, url: str, *, is_open: bool, is_local: bool) -> None:
    call.out.json({"api": {"url": url}})
    told = f"the API and its page listen at {style(url, bold=True)}, env {settings.env}"
    call.out.text(f"{call.out.glyph('ok')} {told}")
    if is_open:
        call.out.text(f"{call.out.glyph('warning')} no key is needed: whoever is on this machine may do everything")
    else:
        call.out.text("  a key is needed: courante keys create NAME --scope SCOPE")
    if not is_local and not settings.api_proxies:
        call.out.text(f"{call.out.glyph('warning')} keys travel in clear: put a proxy with TLS in front of it")
    call.out.next(f"curl {url}/v1/health")
