"""Child runs in tests: the step that is one, and those that a run has."""

from __future__ import annotations

from typing import Any

from courante.sdk.stores.children import ChildRow, children_of
from integration.stage import Stage


def child(workflow: str = "inner", **fields: Any) -> dict[str, Any]:
    config = {"workflow": workflow, **fields.pop("config", {})}
    return {"id": "child", "type": "subflow", "config": config, **fields}


async def children(stage: Stage, run_id: str) -> list[ChildRow]:
    async with stage.client.pool.acquire() as conn:
        return await children_of(conn, run_id)
