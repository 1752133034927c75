"""Asking: a command is answered by the servers themselves, or by the API that the settings name.

This is the one place that decides. A command says how either is asked; both answer with the same values, those that
travel, so that it shows the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from .call import Call
from .event_loop import run_async
from .services import Services, database, open_services

if TYPE_CHECKING:
    from ..sdk.stores.connection import Connection as Database
    from .remote.connection import Connection

T = TypeVar("T")


def ask(
    call: Call,
    here: Callable[[Services], Awaitable[T]],
    over_api: Callable[[Connection], Awaitable[T]],
    *,
    default_level: str = "warning",
) -> T:
    """Return the answer. default_level: of logs. Raises CliError."""
    call.log(default_level=default_level)
    if call.settings.api_url is not None:
        from .remote.asking import ask_api

        return ask_api(call, over_api)

    async def answer() -> T:
        return await here(services)

    with open_services(call) as services:
        return run_async(answer)


def look_up(
    call: Call,
    here: Callable[[Database, str], Awaitable[T]],
    over_api: Callable[[Connection], Awaitable[T]],
) -> T:
    """As ``ask``, where Postgres alone knows. here: is given a connection, and the environment."""

    async def read(services: Services) -> T:
        async with database(services) as conn:
            return await here(conn, services.settings.env)

    return ask(call, read, over_api)
