"""Starting: what Postgres has accepted is on the floor at once, however many runs one call brings."""

from __future__ import annotations

import pytest

from courante.sdk.client.client import Submission
from courante.sdk.stores.runs import get_run
from integration.stage import Stage

pytestmark = pytest.mark.anyio


async def test_a_large_batch_is_applied_whole(stage: Stage) -> None:
    """All runs of a batch that takes several script calls are in Redis when ``submit_many`` returns.

    The second call of a batch once lost its time window and was refused: the runs came by the reconciler, much later.
    """
    workflow = await stage.register({"id": "a", "type": "noop"})
    ids = await stage.client.submit_many([Submission(workflow=workflow, input=i) for i in range(250)])
    partition = stage.client.keys.partition(0)
    assert await stage.redis.exists(*(partition.run(run_id) for run_id in ids)) == 250


async def test_a_run_keeps_its_place_in_lists(stage: Stage) -> None:
    """A run that is PENDING and the same run when it is recorded were created at the same time, to the millisecond."""
    run_id = await stage.client.submit(await stage.register({"id": "a", "type": "noop"}))
    async with stage.client.pool.acquire() as conn:
        before = (await get_run(conn, run_id)).created_at
        stage.worker()
        stage.supervisor()
        assert (await stage.result(run_id)).status == "COMPLETED"
        assert (await get_run(conn, run_id)).created_at == before
