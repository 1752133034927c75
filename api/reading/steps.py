"""Steps of a run: the last attempt of each node in each scope, and nodes that never began. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec import UNSET

from ...compiler.ir import Ir
from ...sdk.authoring.deferral import DeferToken
from ...sdk.caching.cached import CACHE_HIT
from ...sdk.events import ErrorInfo
from ...sdk.marking.scopes import child_text, parse_scope_key, scope_text, token_key
from ...sdk.outcomes.subflows import CHILD
from ...sdk.spending.spent import Spent
from ...sdk.stores.children import child_run_id
from ...sdk.stores.runs import RunRow, StepRow
from ...sdk.stores.status import RunStatus, StepStatus
from ...sdk.stores.traces import Traced
from ..wire.moments import moment
from ..wire.spending import cost_of, models_of, usage_of
from ..wire.steps import Step
from ..wire.traces import Trace, trace_of

OPENED = frozenset({StepStatus.SUCCEEDED, StepStatus.WAITING})
"""Of a map: it has items, or may have."""
NOT_REACHED = "not_reached"


@dataclass(frozen=True, kw_only=True)
class StepView:
    """``scope``: as people read it; ``key``: as the log has it.

    ``attempts``: tries so far. ``waiting_for``: what, and until when where known.

    ``child``: the item of a map that it is in, ``parent#1`` to ``parent#N``. ``trace``: of a tool, where it was read.
    ``spent``: of all its tries.
    """

    id: str
    scope: str
    status: StepStatus
    key: str = ""
    reason: str | None = None
    attempts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    waiting_for: str | None = None
    handler_ms: int = 0
    error: ErrorInfo | None = None
    child: str = ""
    trace: Trace | None = None
    spent: tuple[Spent, ...] = ()

    def to_wire(self) -> Step:
        """Return it as it travels; what was spent only of a step that has called models."""
        last = self.spent[-1] if self.spent else None
        return Step(
            id=self.id,
            scope=self.scope,
            child=self.child or None,
            status=self.status,
            reason=self.reason,
            attempts=self.attempts,
            started_at=moment(self.started_at),
            finished_at=moment(self.finished_at),
            waiting_for=self.waiting_for,
            error=UNSET if self.error is None else self.error,
            cache_hit=True if self.reason == CACHE_HIT else UNSET,
            handler_ms=self.handler_ms or UNSET,
            trace=UNSET if self.trace is None else self.trace,
            provider=UNSET if last is None else last.provider,
            model=UNSET if last is None else last.model,
            models=UNSET if last is None else models_of(self.spent),
            usage=UNSET if last is None else usage_of(self.spent),
            cost=UNSET if last is None else cost_of(self.spent),
        )


Traces = Mapping[tuple[str, str, int], Traced]
"""By node, scope and attempt."""
NO_TRACES: Traces = {}


Spending = Mapping[tuple[str, str], Sequence[Spent]]
"""By node and scope, in the order of the tries."""
NO_SPENDING: Spending = {}


def step_views(
    run: RunRow,
    ir: Ir | None,
    rows: Sequence[StepRow],
    traces: Traces = NO_TRACES,
    spent: Spending = NO_SPENDING,
) -> list[StepView]:
    """Return the steps in the order of the document, those of one node in the order in which they began.

    A node without a row is PENDING while the run is open. In a COMPLETED run it was on a path not taken; in one that
    ended otherwise it was not reached. The aggregate of a map that is open WAITS for the map's items.
    """
    last: dict[tuple[str, str], StepRow] = {}
    for row in rows:
        known = last.get((row.node, row.scope))
        if known is None or row.attempt >= known.attempt:
            last[row.node, row.scope] = row
    by_node: dict[str, list[StepView]] = {}
    numbers = {} if ir is None else {node.id: number for number, node in enumerate(ir.nodes)}
    for row in last.values():
        number = numbers.get(row.node)
        if ir is not None and number is not None and ir.nodes[number].is_gate:
            continue
        by_node.setdefault(row.node, []).append(_view(run, row, ir, number, traces, spent))
    if ir is not None and not run.status.is_final:
        for row in [row for row in last.values() if row.status in OPENED]:
            _await_items(ir, numbers, last, by_node, row)
    nodes = list(by_node) if ir is None else [node.id for node in ir.nodes if not node.is_gate]
    return [view for node in nodes for view in by_node.get(node) or [_absent(node, run.status)]]


def _waiting_for(run: RunRow, row: StepRow, ir: Ir | None, number: int | None) -> str | None:
    """What it waits for: which child run, and which signals, mutex or token where the IR tells; and until when."""
    if row.status is StepStatus.RETRYING:
        what = "retry"
    elif row.status is StepStatus.WAITING:
        what = row.reason or "timer"
        if what == CHILD:
            what = f"child {child_run_id(run.env, run.run_id, row.node, row.scope, row.attempt)}"
    else:
        return None
    if ir is not None and number is not None:
        node = ir.nodes[number]
        if what == "signal" and node.signal is not None:
            what = f"signal {' or '.join(node.signal.names)}"
        elif what == "mutex":
            what = f"mutex {node.mutex}"
        elif what == "slot" and node.concurrency is not None:
            what = f"slot of {node.concurrency.key}"
        elif what == "outside":
            key = token_key(number, parse_scope_key(row.scope))
            what = f"outside {DeferToken(run.run_id, key, row.attempt).text}"
    return f"{what} until {moment(row.due_at)}" if row.due_at is not None else what


def _await_items(
    ir: Ir,
    numbers: Mapping[str, int],
    rows: Mapping[tuple[str, str], StepRow],
    by_node: dict[str, list[StepView]],
    row: StepRow,
) -> None:
    """Show the aggregate that the items of a map lead to, where it has not begun."""
    number = numbers.get(row.node)
    if number is None or not ir.nodes[number].is_map:
        return
    aggregate = ir.nodes[ir.regions[ir.nodes[number].map_region].aggregate].id
    if (aggregate, row.scope) not in rows:
        scope = parse_scope_key(row.scope)
        view = StepView(
            id=aggregate,
            scope=scope_text(ir, number, scope),
            status=StepStatus.WAITING,
            waiting_for=f"items of {row.node}",
            child=child_text(ir, number, scope),
        )
        by_node.setdefault(aggregate, []).append(view)


def _view(run: RunRow, row: StepRow, ir: Ir | None, number: int | None, traces: Traces, spent: Spending) -> StepView:
    shown, child = row.scope, ""
    traced = traces.get((row.node, row.scope, row.attempt))
    config = {} if ir is None or number is None else ir.nodes[number].config
    if ir is not None and number is not None:
        scope = parse_scope_key(row.scope)
        shown, child = scope_text(ir, number, scope), child_text(ir, number, scope)
    return StepView(
        id=row.node,
        scope=shown,
        key=row.scope,
        child=child,
        status=row.status,
        reason=row.reason,
        attempts=row.attempt,
        started_at=row.started_at,
        finished_at=row.finished_at,
        waiting_for=_waiting_for(run, row, ir, number),
        handler_ms=row.ms or 0,
        error=row.error,
        trace=None if traced is None else trace_of(traced, config, row.error, row.ms or 0),
        spent=tuple(spent.get((row.node, row.scope), ())),
    )


def _absent(node: str, status: RunStatus) -> StepView:
    if not status.is_final:
        return StepView(id=node, scope="", status=StepStatus.PENDING)
    if status is RunStatus.COMPLETED:
        return StepView(id=node, scope="", status=StepStatus.SKIPPED, reason="branch_not_taken")
    return StepView(id=node, scope="", status=StepStatus.SKIPPED, reason=NOT_REACHED)
