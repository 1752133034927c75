"""Runs that are steps of a run, and the one whose step a run is, as they travel."""

from __future__ import annotations

import msgspec

from ...compiler.ir import Ir
from ...sdk.marking.scopes import parse_scope_key, scope_text
from ...sdk.stores.children import ChildRow, ChildState, ParentRow
from ...sdk.stores.status import RunStatus


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    """``scope``: as the log has it: the parent's workflow is not at hand. ``detached``: it does not wait."""

    run_id: str
    step: str
    scope: str
    attempt: int
    detached: bool


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """``status``: null where it was not started; then ``state`` says why. ``taken_from``: of a step that is taken over,
    the run whose child it is.
    """

    run_id: str
    step: str
    scope: str
    attempt: int
    workflow: str
    version: int | None
    detached: bool
    depth: int | None
    state: ChildState
    status: RunStatus | None
    taken_from: str | None = None


def parent_of(row: ParentRow | None) -> Parent | None:
    if row is None:
        return None
    return Parent(
        run_id=row.parent_run_id, step=row.node, scope=row.scope, attempt=row.attempt, detached=row.is_detached
    )


def child_of(row: ChildRow, ir: Ir | None) -> Child:
    return Child(
        run_id=row.run_id,
        step=row.node,
        scope=child_scope(row, ir),
        attempt=row.attempt,
        workflow=row.workflow,
        version=row.version,
        detached=row.is_detached,
        depth=row.depth,
        state=row.state,
        status=row.status,
        taken_from=row.taken_from,
    )


def child_scope(child: ChildRow, ir: Ir | None) -> str:
    """Return the scope of its step as people read it. ir: of the parent, None where that is not known."""
    numbers = {} if ir is None else {node.id: number for number, node in enumerate(ir.nodes)}
    if ir is None or child.node not in numbers:
        return child.scope
    return scope_text(ir, numbers[child.node], parse_scope_key(child.scope))
