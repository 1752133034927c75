"""Statistics: what the API and the command line count, of which runs and since when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import UnknownRun
from ...sdk.stores.runs import get_run
from ...sdk.stores.statistics import read_statistics
from ..wire.statistics import StatisticsShown, statistics_shown

DAY = timedelta(hours=24)


async def count(
    conn: Connection, env: str, *, workflow: str | None, run_id: str | None, since: datetime | None
) -> StatisticsShown:
    """since: None for a day ago, or, of one run, since that. Raises UnknownRun."""
    if run_id is not None:
        run = await get_run(conn, run_id)
        if run.env != env:
            raise UnknownRun(run_id)
        since = since or run.created_at
    since = since or datetime.now(UTC) - DAY
    found = await read_statistics(conn, env, since=since, workflow=workflow, run_id=run_id)
    return statistics_shown(found, since=since, workflow=workflow, run_id=run_id)
