"""A run, read in a few queries: what it is, what its steps are, what it waits for and what it has taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from ...compiler.ir import Ir, decode_ir
from ...sdk.moments import iso_text
from ...sdk.spending.spent import Spent
from ...sdk.stores import alerts
from ...sdk.stores.alerts import list_alerts
from ...sdk.stores.approvals import list_approvals
from ...sdk.stores.children import ChildRow, ParentRow, children_of, parents_of
from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import UnknownRun
from ...sdk.stores.forgetting import Forgotten, read_forgotten
from ...sdk.stores.log import Archived, find_archive
from ...sdk.stores.payloads import event_payload
from ...sdk.stores.runs import RunRow, get_run, list_runs, list_steps
from ...sdk.stores.spending import spending_of_attempts, spending_of_runs
from ...sdk.stores.status import StepStatus
from ...sdk.stores.traces import list_traces
from ...sdk.stores.workflows import get_ir
from ..aside import aside_if_many
from ..wire.approvals import Approval
from ..wire.children import child_of, parent_of
from ..wire.moments import moment
from ..wire.runs import Alert, ArchivedRun, ForgottenRun, RunDetail, RunPage, RunShown, run_line
from ..wire.spending import cost_of, usage_of
from ..wire.traces import traced_nodes
from ..wire.workflows import graph_of
from .approvals import approval_of
from .steps import StepView, step_views

if TYPE_CHECKING:
    from ..backend import Backend


@dataclass(frozen=True)
class RunView:
    """``output``: None until the run is COMPLETED. ``approvals``: decisions that it waits for.

    ``alerts``: what only a person can change. ``parent``: the step that the run is; ``children``: the runs that are
    steps of it. ``spent``: by calls of models, by currency. ``forgotten``: that its values were emptied.
    ``archived``: that its log was moved.
    """

    run: RunRow
    steps: list[StepView]
    output: Any = None
    approvals: Sequence[Approval] = ()
    alerts: Sequence[alerts.Alert] = ()
    parent: ParentRow | None = None
    children: Sequence[ChildRow] = ()
    ir: Ir | None = None
    spent: Sequence[Spent] = ()
    forgotten: Forgotten | None = None
    archived: Archived | None = None

    @property
    def is_final(self) -> bool:
        return self.run.status.is_final

    def to_wire(self) -> RunShown:
        run = self.run
        return RunShown(
            run_id=run.run_id,
            status=run.status,
            output=self.output,
            error=run.error,
            started_at=moment(run.started_at),
            finished_at=moment(run.finished_at),
            workflow=run.workflow,
            version=run.version,
            reason=run.drain_reason,
            tags=list(run.tags),
            is_halted=run.is_halted,
            created_at=iso_text(run.created_at),
            trigger=run.trigger,
            base_run_id=run.base_run_id,
            by=run.by,
            steps=[step.to_wire() for step in self.steps],
            parent=parent_of(self.parent),
            children=[child_of(child, self.ir) for child in self.children],
            approvals=list(self.approvals),
            alerts=[Alert(kind=one.kind, message=one.message, since=iso_text(one.since)) for one in self.alerts],
            usage=usage_of(self.spent),
            cost=cost_of(self.spent),
            forgotten=_forgotten(self.forgotten),
            archived=None if self.archived is None else _archived(self.archived),
        )

    def detail(self) -> RunDetail:
        """Return it with all that a page about it needs, and without paths of this server."""
        shown = self.to_wire()
        kept: dict[str, Any] = msgspec.structs.asdict(shown)
        if shown.archived is not None:
            kept["archived"] = msgspec.structs.replace(shown.archived, path=UNSET)
        counts: dict[StepStatus, int] = {}
        for step in shown.steps:
            counts[step.status] = counts.get(step.status, 0) + 1
        nodes, edges = ((), ()) if self.ir is None else graph_of(self.ir)
        return RunDetail(
            **kept,
            steps_summary=counts,
            nodes=list(nodes),
            edges=list(edges),
        )


class RunReader:
    """Reads one run again and again; its IR only once."""

    def __init__(self, conn: Connection, env: str, run_id: str) -> None:
        self._conn = conn
        self._env = env
        self._run_id = run_id
        self._ir: Ir | None = None

    async def shown(self) -> RunShown:
        """Return what is known of it. Raises UnknownRun."""
        return (await self.read(with_traces=True)).to_wire()

    async def read(self, *, with_traces: bool = False) -> RunView:
        """with_traces: what its tools were called with, and gave. Raises UnknownRun."""
        run = await get_run(self._conn, self._run_id)
        if run.env != self._env:
            raise UnknownRun(self._run_id)
        if self._ir is None:
            content = await get_ir(self._conn, self._env, run.ir_hash)
            self._ir = None if content is None else decode_ir(content)
        rows = await list_steps(self._conn, self._run_id)
        output: Any = None
        if run.status.is_final and run.output_seq is not None and run.error is None:
            payload = await event_payload(self._conn, self._env, self._run_id, run.output_seq)
            output = None if payload is None else msgspec.json.decode(payload)
        asking = any(row.status is StepStatus.WAITING and row.reason == "approval" for row in rows)
        found = await list_approvals(self._conn, self._env, run_id=self._run_id) if asking else []
        views = [approval_of(each, self._ir) for each in found]
        alerts = [] if run.status.is_final else await list_alerts(self._conn, self._env, subject=self._run_id)
        parents = await parents_of(self._conn, [self._run_id])
        children = await children_of(self._conn, self._run_id)
        traced = traced_nodes(self._ir) if with_traces else []
        traces = await list_traces(self._conn, self._env, self._run_id, traced)
        spent = (await spending_of_runs(self._conn, [self._run_id])).get(self._run_id, [])
        by_step: dict[tuple[str, str], list[Spent]] = {}
        for one in await spending_of_attempts(self._conn, self._run_id) if spent else ():
            by_step.setdefault((one.node, one.scope), []).append(one.spent)
        steps = await aside_if_many(len(rows), partial(step_views, run, self._ir, rows, traces, by_step))
        forgotten = (await read_forgotten(self._conn, [self._run_id])).get(self._run_id)
        archived = await find_archive(self._conn, self._run_id) if run.status.is_final else None
        parent = parents.get(self._run_id)
        return RunView(run, steps, output, views, alerts, parent, children, self._ir, spent, forgotten, archived)


async def read_page(conn: Connection, env: str, **wanted: Any) -> RunPage:
    """Return a page of runs. wanted: see ``list_runs``. Raises BadFilter."""
    page = await list_runs(conn, env, **wanted)
    ids = [run.run_id for run in page.runs]
    parents, spent = await parents_of(conn, ids), await spending_of_runs(conn, ids)
    lines = [run_line(run, parents.get(run.run_id), spent.get(run.run_id, [])) for run in page.runs]
    return RunPage(runs=lines, next=page.next)


def _forgotten(found: Forgotten | None) -> ForgottenRun | None:
    return None if found is None else ForgottenRun(at=iso_text(found.forgotten_at), by=found.by, reason=found.reason)


def _archived(found: Archived) -> ArchivedRun:
    return ArchivedRun(at=iso_text(found.at), is_kept=found.path is not None, path=found.path)


async def read_run(backend: Backend, run_id: str) -> RunView:
    """Raises UnknownRun."""
    async with backend.client.pool.acquire() as conn:
        return await RunReader(conn, backend.env, run_id).read(with_traces=True)
