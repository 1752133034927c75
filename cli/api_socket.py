"""The socket of the API: made before the server is, so that it outlives a server that dies, and its URL is known."""

from __future__ import annotations

import errno
import socket
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, cast

import anyio
from anyio.to_thread import run_sync

from .exits import CliError, ExitCode

if TYPE_CHECKING:
    from .call import Call

BACKLOG = 2_048
LOOK_S = 0.1
ANSWER_S = 1.0


def open_socket(call: Call) -> socket.socket:
    """Listen where the settings say. Raises CliError."""
    host, port = call.settings.api_host, call.settings.api_port
    try:
        return listen(host, port)
    except OSError as cause:
        message = f"the API cannot listen to {host} port {port}: {cause.strerror or cause}"
        hint = "give another --port or --host, or end what listens there"
        raise CliError(ExitCode.SERVICE, "cannot_listen", message, hint) from cause


@contextmanager
def listen_for_api(call: Call) -> Generator[socket.socket]:
    """Listen where the settings say; at any free port where nobody has asked for one and the usual one is taken.

    Raises CliError.
    """
    settings, sources = call.settings_and_sources
    try:
        listening = open_socket(call)
    except CliError as error:
        is_taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
        if not is_taken or sources["api_port"] != "default":
            raise
        listening = listen(settings.api_host, 0)
    with listening:
        yield listening


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. port: 0 for any that is free. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def url_of(listening: socket.socket) -> str:
    """``http://127.0.0.1:8420``; of all addresses, that of this machine."""
    address: str = listening.getsockname()[0]
    port: int = listening.getsockname()[1]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - read, not listened to
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(listening: socket.socket) -> bool:
    """Return whether only this machine can reach it."""
    return ip_address(listening.getsockname()[0]).is_loopback


def running_api(call: Call) -> str | None:
    """Return the URL of an API that answers: that of 'courante up', or where the settings say."""
    from .uplock import facts_of

    settings = call.settings
    known = facts_of(settings.home, settings.env).get("api")
    url = cast("dict[str, str | None]", known).get("url") if isinstance(known, dict) else None
    host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
    candidates = (url, f"http://{host}:{settings.api_port}" if settings.api_port else None)
    return next((each for each in candidates if each is not None and answers(each)), None)


async def wait_for_api(url: str) -> None:
    """Return when it answers."""
    while True:
        if await run_sync(partial(answers, url)):
            return
        await anyio.sleep(LOOK_S)


def answers(url: str) -> bool:
    """Whether an API of ours answers there. No proxy is asked: it is a machine of ours."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/v1/health/live", timeout=ANSWER_S) as answer:
            return bool(answer.read(100) == b'{"ok":true}')
    except (OSError, ValueError):
        return False
