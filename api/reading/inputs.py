"""What a step was given, made of the log of its run."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from ...replay.contents import Contents
from ...replay.inputs import InputReader
from ...sdk.corrupt import Corrupt
from ...sdk.marking.named_steps import find_step
from ...sdk.marking.plan import Plan
from ...sdk.marking.scopes import parse_scope_key, scope_text
from ...sdk.stores.connection import Connection
from ...sdk.stores.log import stream_events
from ...sdk.stores.payloads import resolve
from ..wire.inputs import StepGiven
from .states import corrupt, lineage_of


async def read_input(
    conn: Connection, env: str, run_id: str, step: str, scope: str = "", at: int | None = None
) -> StepGiven:
    """Return what a step was given. scope: as people write it. at: the last event that counts.

    Cost: the log of the run until then, read once. Raises UnknownRun, IrNotFound, StepNotFound, LogArchived; LogCorrupt
    where the log contradicts the rules.
    """
    lineage = await lineage_of(conn, env, run_id)
    plan = lineage.last
    number, key = find_step(plan, step, scope)
    place = parse_scope_key(key)
    plans: dict[str, Plan] = {stage.plan.hash: stage.plan for stage in lineage.stages}
    reader = InputReader(run_id, lineage.first, plans, step, place)
    try:
        async for event in stream_events(conn, run_id):
            reader.add(event)
            if event.seq == at:
                break
    except Corrupt as cause:
        raise corrupt(run_id, cause) from cause
    found = await reader.read(Contents(lambda value: resolve(conn, env, value)))
    return StepGiven(
        run_id=run_id,
        step=step,
        scope=scope_text(plan.ir, number, place),
        input=UNSET if found.content is None else msgspec.json.decode(found.content),
        config=UNSET if found.config is None else found.config,
        reason=found.reason or None,
    )
