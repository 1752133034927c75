"""The endpoint: a small HTTP server of a daemon for whoever watches over it. No API.

    GET  /metrics   what Prometheus scrapes
    GET  /live      200 while the process runs; says for how long its loop has not answered
    GET  /ready     200 while it can do its work, else 503 and why
    POST /drain     asks it to finish what it holds and to end; from this machine only, and not by a page in a browser

It lives in threads of its own and answers whatever the loop does: a handler that blocks its worker's loop costs no
scrape, and is no reason to restart a worker, whose leases are renewed all the same. A client has ``TIMEOUT_S`` for its
request; more than ``CLIENTS_MAX`` at once are turned away. At a loopback address only names of this machine are
answered: a page of somebody else's could make its own mean that address, and read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog

from .exposition import Exposition, Sources

TIMEOUT_S = 5.0
LOOP_S = 2.0
"""A loop that does not answer within it is not ready."""
CLIENTS_MAX = 32
log = structlog.get_logger()


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """``ready``: reasons against it, none where all is well; called on the loop, as ``drain`` is."""

    role: str
    name: str
    env: str
    ready: Callable[[], list[str]]
    drain: Callable[[], None]


class Endpoint:
    """Serves from ``open`` to ``close``. port 0: any that is free, which ``port`` tells then."""

    def __init__(self, sources: Sources, probe: Probe, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._exposition = Exposition(sources, {"env": probe.env})
        self.probe = probe
        self._place = host, port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.server_address[1])

    def open(self) -> None:
        """Listen, and serve from threads. On the loop. Raises OSError where the address cannot be had."""
        self._loop = asyncio.get_running_loop()
        self._server = _Server(self._place, self)
        threading.Thread(target=self._server.serve_forever, name="courante-metrics", daemon=True).start()
        log.info("metrics_served", host=self._place[0], port=self.port, role=self.probe.role)

    def close(self) -> None:
        """Listen no more. Waits for the thread, at most half a second. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def metrics(self, accept: str) -> tuple[str, bytes]:
        return self._exposition.write(accept)

    def reasons(self) -> list[str]:
        """Why it is not ready; asks the loop."""
        found = self._ask(self.probe.ready)
        return ["the event loop does not answer"] if found is None else found

    def drain(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.probe.drain)

    def does_loop_answer(self) -> bool:
        return self._ask(lambda: []) is not None

    def _ask(self, question: Callable[[], list[str]]) -> list[str] | None:
        assert self._loop is not None

        async def answer() -> list[str]:
            return question()

        coroutine = answer()
        try:
            asked = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop is closed
            coroutine.close()
            return None
        try:
            return asked.result(LOOP_S)
        except (TimeoutError, CancelledError):
            asked.cancel()
            return None


def is_here(address: str) -> bool:
    """Whether a client's address is one of this machine's loopback."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def is_named_here(host: str) -> bool:
    """Whether the header Host has a name of this machine, or nothing."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name in ("", "localhost") or is_here(name)
    except ValueError:
        return False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = CLIENTS_MAX
    allow_reuse_address = True

    def __init__(self, place: tuple[str, int], endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._free = threading.BoundedSemaphore(CLIENTS_MAX)
        if ":" in place[0]:
            self.address_family = socket.AF_INET6
        super().__init__(place, Handler)

    def server_bind(self) -> None:
        """Without the look-up of our own name that ``HTTPServer`` makes, which may take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "courante", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is nobody's fault."""
        log.debug("metrics_client_failed", client=str(client_address), request=str(request))


class Handler(BaseHTTPRequestHandler):
    timeout = TIMEOUT_S
    server_version = "courante"
    sys_version = ""

    @property
    def _endpoint(self) -> Endpoint:
        assert isinstance(self.server, _Server)
        return self.server.endpoint

    def do_GET(self) -> None:
        if not self._is_called_rightly():
            return
        endpoint, path = self._endpoint, self.path.partition("?")[0]
        match path:
            case "/metrics":
                content_type, text = endpoint.metrics(self.headers.get("Accept", ""))
                self._answer(200, content_type, text)
            case "/live":
                self._tell(200, {"live": True, "loop_answers": endpoint.does_loop_answer()})
            case "/ready":
                reasons = endpoint.reasons()
                self._tell(503 if reasons else 200, {"ready": not reasons, "reasons": reasons})
            case "/drain":
                self._tell(405, {"error": "POST asks for it"})
            case _:
                self._tell(404, {"error": "there are /metrics, /live, /ready and /drain"})

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def do_POST(self) -> None:
        if not self._is_called_rightly():
            return
        if self.path.partition("?")[0] != "/drain":
            self._tell(404, {"error": "there is /drain"})
        elif not is_here(self.client_address[0]):
            self._tell(403, {"error": "from this machine only"})
        elif self.headers.get("Origin") is not None or self.headers.get("Sec-Fetch-Site") is not None:
            self._tell(403, {"error": "not by a page in a browser"})
        else:
            self._endpoint.drain()
            self._tell(202, {"draining": True})

    def _is_called_rightly(self) -> bool:
        assert isinstance(self.server, _Server)
        address = str(self.server.server_address[0])
        if is_here(address) and not is_named_here(self.headers.get("Host", "")):
            self._tell(421, {"error": "nothing is served under that name"})
            return False
        return True

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody wants a line for each scrape."""

    def _tell(self, status: int, facts: dict[str, Any]) -> None:
        endpoint = self._endpoint
        body = {"role": endpoint.probe.role, "name": endpoint.probe.name, "env": endpoint.probe.env, **facts}
        self._answer(status, "application/json", msgspec.json.encode(body))

    def _answer(self, status: int, content_type: str, content: bytes) -> None:
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
