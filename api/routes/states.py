"""States: how a run stood after any of its events, and what its steps were given."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ...replay.changes import diff
from ...sdk.access import Scope
from ..aside import aside, folding
from ..bodies import NoBody
from ..reading.inputs import read_input
from ..reading.states import read_states
from ..route import Asked, Routes
from ..wire.inputs import StepGiven
from ..wire.states import StateChanges, state_changes

routes = Routes("states")
ERRORS = ("run_not_found", "event_not_found", "ir_not_found", "log_archived", "log_corrupt")
Seq = Annotated[int, Meta(ge=1, le=2**53)]


class After(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``at``: the number of an event; left out, the last one."""

    at: Seq | None = None


class Between(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"first": "from", "second": "to"}
):
    first: Seq
    second: Seq


@routes.get("/v1/runs/{run_id}/state", scope=Scope.READ, errors=ERRORS)
async def state(asked: Asked[After, NoBody]) -> dict[str, Any]:
    """Tell how a run stood after an event: its status, tokens, joins, steps, outputs and errors."""
    backend = asked.backend
    async with folding, backend.client.pool.acquire() as conn:
        (found,) = await read_states(conn, backend.env, asked.at("run_id"), [asked.query.at])
    return found


@routes.get("/v1/runs/{run_id}/diff", scope=Scope.READ, errors=ERRORS)
async def changes(asked: Asked[Between, NoBody]) -> StateChanges:
    """Tell what differs between the states of a run after two of its events."""
    backend, query = asked.backend, asked.query
    async with folding, backend.client.pool.acquire() as conn:
        before, after = await read_states(conn, backend.env, asked.at("run_id"), [query.first, query.second])
    return await aside(lambda: state_changes(query.first, query.second, diff(before, after)))


class InScope(After, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``scope``: as people read it; left out, that of a step outside of loops and maps."""

    scope: Annotated[str, Meta(max_length=4096)] = ""


@routes.get(
    "/v1/runs/{run_id}/steps/{step}/input",
    scope=Scope.READ,
    errors=("run_not_found", "step_not_found", "ir_not_found", "log_archived", "log_corrupt", "payload_unreadable"),
)
async def given(asked: Asked[InScope, NoBody]) -> StepGiven:
    """Tell what a step was given: its input, made again from the log, and its config with its templates filled."""
    backend = asked.backend
    async with folding, backend.client.pool.acquire() as conn:
        run_id, step, query = asked.at("run_id"), asked.at("step"), asked.query
        return await read_input(conn, backend.env, run_id, step, query.scope, query.at)
