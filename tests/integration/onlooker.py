"""Who looks on while runs are commanded: what their steps wait for, and whether log, tables and Redis agree."""

from __future__ import annotations

from typing import Any

from courante.replay import Verification, verify_run
from courante.sdk.floor.live_marking import read_marking
from courante.sdk.fold.fold import fold
from courante.sdk.stores.runs import get_run, list_steps
from integration.cases import node
from integration.stage import Stage, until
from model.agreement import agree


async def agrees(stage: Stage, run_id: str) -> Verification:
    """The run's log verifies, and folds to what Redis holds: also while the run goes on."""
    live = await read_marking(stage.redis, stage.client.keys.partition(0), run_id)
    assert live is not None
    await until(lambda: stage.types(run_id), lambda types: len(types) >= live.seq)
    async with stage.client.pool.acquire() as conn:
        plan = await stage.client.catalog.plan((await get_run(conn, run_id)).ir_hash, conn)
        verification = await verify_run(conn, stage.place.env, run_id)
    assert verification.ok, verification
    agree(live, fold(plan.ir, (await stage.events(run_id))[: live.seq]), plan)
    return verification


async def status_of(stage: Stage, run_id: str, step: str) -> str:
    async with stage.client.pool.acquire() as conn:
        rows = [row for row in await list_steps(conn, run_id) if row.node == step]
    return str(rows[-1].status) if rows else "PENDING"


async def waiting(stage: Stage, run_id: str, step: str) -> None:
    await until(lambda: status_of(stage, run_id, step), lambda status: status == "WAITING")


def call_up(stage: Stage) -> None:
    stage.supervisor()
    stage.worker()


def asks(id: str, *after: str, **config: Any) -> dict[str, Any]:
    return node(id, *after, type="approval", config=config)
