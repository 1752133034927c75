"""Backend: the environment that the API serves, as handlers see it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ..sdk.client import Client
from ..sdk.errors import ServiceUnavailable
from ..sdk.settings import Settings
from .live import Live, open_live


@dataclass(frozen=True)
class Backend:
    """``client``: open, and its partitions too. ``live``: None where nobody is to be told what comes."""

    client: Client
    settings: Settings
    live: Live | None = None

    @property
    def hub(self) -> Live:
        """Raises ServiceUnavailable where there is none."""
        if self.live is None:
            raise ServiceUnavailable("this server tells no events as they come")
        return self.live

    @property
    def env(self) -> str:
        return self.settings.env


@asynccontextmanager
async def open_backend(client: Client, settings: Settings, redis_url: str) -> AsyncGenerator[Backend]:
    """client: open. It stays so."""
    async with open_live(client, redis_url) as live:
        yield Backend(client, settings, live)
