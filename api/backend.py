"""Backend: the environment that the API serves, as handlers see it."""

from __future__ import annotations

from dataclasses import dataclass

from ..sdk.client import Client
from ..sdk.settings import Settings


@dataclass(frozen=True)
class Backend:
    """``client``: open, and its partitions too."""

    client: Client
    settings: Settings

    @property
    def env(self) -> str:
        return self.settings.env
