"""A run that is asked for by its id: it is of this environment, or there is none."""

from __future__ import annotations

from ..errors import RunNotFound
from ..stores.connection import Connection
from ..stores.errors import UnknownRun
from ..stores.runs import RunRow, get_run


async def own_run(conn: Connection, env: str, run_id: str) -> RunRow:
    """Return its row. Raises RunNotFound."""
    hint = "'courante runs' lists them"
    try:
        run = await get_run(conn, run_id)
    except UnknownRun as error:
        raise RunNotFound(str(error), hint=hint) from error
    if run.env != env:
        raise RunNotFound(f"there is no run {run_id}", hint=hint)
    return run
