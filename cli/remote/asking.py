"""Asking: a command over the API of the settings, from the connection to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ...sdk.settings import DEFAULT
from ..call import Call
from ..event_loop import run_async
from .connection import Connection, open_connection

T = TypeVar("T")


def ask_api(call: Call, ask: Callable[[Connection], Awaitable[T]]) -> T:
    """Ask it. An environment that was named must be the one that it serves. Raises CliError."""
    settings, sources = call.settings_and_sources
    env = settings.env if sources["env"] != DEFAULT else None

    async def go() -> T:
        async with open_connection(settings, env=env, note=call.out.step) as connection:
            return await ask(connection)

    return run_async(go)
