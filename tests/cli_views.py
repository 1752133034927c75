"""Views of runs, as the command line reads them."""

from __future__ import annotations

from courante.api.reading.runs import RunReader, RunView
from integration.stage import Stage


async def read_view(stage: Stage, run_id: str) -> RunView:
    """Return a run with the traces of its tools."""
    async with stage.client.pool.acquire() as conn:
        return await RunReader(conn, stage.place.env, run_id).read(with_traces=True)
