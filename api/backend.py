"""Backend: the environment that the API serves, as handlers see it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ..sdk.client.client import Client
from ..sdk.errors import ServiceUnavailable
from ..sdk.settings import Settings
from .health_word import HealthWord
from .live import Live, open_live
from .live_logs import LiveLogs, open_live_logs


@dataclass(frozen=True)
class Backend:
    """``client``: open, and its partitions too. ``hubs``: None where nobody is to be told what comes.

    ``exporting``: bundles that are on their way. ``word``: what strangers are told of the health.
    """

    client: Client
    settings: Settings
    hubs: tuple[Live, LiveLogs] | None = None
    exporting: set[object] = field(default_factory=lambda: set[object]())
    word: HealthWord = field(default_factory=HealthWord)

    @property
    def live(self) -> Live:
        """Raises ServiceUnavailable."""
        return self._hubs[0]

    @property
    def live_logs(self) -> LiveLogs:
        """Raises ServiceUnavailable."""
        return self._hubs[1]

    @property
    def _hubs(self) -> tuple[Live, LiveLogs]:
        if self.hubs is None:
            raise ServiceUnavailable("this server tells nothing as it comes")
        return self.hubs

    @property
    def listeners(self) -> int:
        """How many are told what comes."""
        return sum(hub.count for hub in self.hubs or ())

    def stop(self) -> None:
        """Let all listeners go."""
        for hub in self.hubs or ():
            hub.stop()

    @property
    def env(self) -> str:
        return self.settings.env


@asynccontextmanager
async def open_backend(client: Client, settings: Settings, redis_url: str) -> AsyncGenerator[Backend]:
    """client: open. It stays so."""
    async with open_live(client, redis_url) as live, open_live_logs(client) as live_logs:
        yield Backend(client, settings, (live, live_logs))
