"""The server: an application on a socket, until it is told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from .app import Asgi

GRACE_S = 10
"""How long requests that are under way may take when the server stops."""


class Server(uvicorn.Server):
    """Signals are the business of whoever runs it: ``stop`` ends it in order, ``kill`` at once."""

    def __init__(self, app: Asgi, *, on_stop: Callable[[], None] = lambda: None, **options: Any) -> None:
        """on_stop: ends answers that would go on for ever."""
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            log_level="error",  # below that uvicorn has a line for whatever a stranger sends
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            **options,
        )
        super().__init__(config)
        self._on_stop = on_stop

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def run_on(self, listening: socket.socket) -> None:
        """Serve until ``stop``."""
        await self.serve(sockets=[listening])

    def stop(self) -> None:
        self.should_exit = True
        self._on_stop()

    def unready(self) -> list[str]:
        """Why it should be asked nothing now."""
        return ["it stops"] if self.should_exit else []

    def kill(self) -> None:
        self.should_exit = self.force_exit = True
