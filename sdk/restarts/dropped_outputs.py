"""Dropped outputs: whether what a new run is to read of another one names artifacts that retention has dropped."""

from __future__ import annotations

from collections import defaultdict

from ..errors import NotRestartable
from ..marking.plan import Plan
from ..reenactment.impact import read_again
from ..reenactment.restarting import RestartPlan
from ..sealing.artifacts import digests_in
from ..slices import Slices
from ..stores.connection import Connection
from ..stores.dropped_artifacts import find_dropped, has_dropped
from ..stores.payloads import resolve


async def check_artifacts(conn: Connection, env: str, plan: Plan, restart: RestartPlan, run_id: str) -> None:
    """Raise NotRestartable where a step that is executed reads an output of ``run_id`` of which an artifact is gone.

    What only stands in the new run's own output may be gone: it is a reference there as well. Cost: the outputs that
    are read, where any artifact was ever dropped; else one look.
    """
    if not await has_dropped(conn, env):
        return
    again, slices = read_again(plan, restart.marking), Slices()
    named: dict[bytes, set[str]] = defaultdict(set)
    for (number, _), value in restart.marking.outputs.items():
        await slices.breathe()
        if number in again:
            for found in digests_in(await resolve(conn, env, value) or b""):
                named[found].add(plan.node_ids[number])
    gone = await find_dropped(conn, env, named)
    if not gone:
        return
    steps = sorted(set[str]().union(*(named[found] for found in gone)))
    told = f"artifacts that other steps read were dropped by retention: of {', '.join(steps)}"
    hint = f"courante rerun {run_id} {' '.join(f'--from {step}' for step in steps)}"
    raise NotRestartable(told, reason="emptied", hint=hint)
