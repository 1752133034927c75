"""Enacting: a run is played again (``reenacting``) with the payloads that its expressions need, brought as they do.

In a thread, in parts: the event loop has its turns meanwhile, and whoever waits can be cancelled between two of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from anyio.to_thread import run_sync

from ..stores.connection import Connection
from ..stores.payloads import resolve
from ..stores.runs import get_run
from .redeciding import Unloaded
from .reenacting import Enacted, Enacting

Resolve: TypeAlias = Callable[[bytes], Awaitable[bytes | None]]
"""Brings what a reference stands for, None where it is gone."""


TURNS = 500
"""Of one part."""


class Gone(Exception):
    """A payload that is needed is not stored any more."""

    def __init__(self, reference: bytes) -> None:
        super().__init__(f"not stored any more: {reference.decode('ascii', 'replace')}")
        self.reference = reference


async def enact(conn: Connection, enacting: Enacting) -> Enacted:
    """Enact a run of the database. Raises Gone, PayloadUnreadable."""
    env = (await get_run(conn, enacting.oracle.run_id)).env
    return await enact_with(enacting, lambda reference: resolve(conn, env, reference))


async def enact_with(enacting: Enacting, bring: Resolve) -> Enacted:
    """Raises Gone, and what ``bring`` does.

    Cost: a call for each payload that is needed, again for what was let go.
    """
    while True:
        try:
            return await play(enacting)
        except Unloaded as needed:
            for reference in needed.references:
                content = await bring(reference)
                if content is None:
                    raise Gone(reference) from needed
                enacting.contents.put(reference, content)


async def play(enacting: Enacting) -> Enacted:
    """Enact what nothing has to be brought for. Raises Unloaded."""
    while await run_sync(enacting.go_on, TURNS):
        pass
    return await run_sync(enacting.enacted)
