"""Reruns: what is asked of a run of which some steps are to be executed again, with all that follows from them.

A rerun names the steps, a rebuild names changes, which the workflow maps to steps. The run is enacted again up to
these (``reenacting``); everything else is taken over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from anyio.to_thread import run_sync
from msgspec import UNSET

from ...compiler.diagnostics import did_you_mean
from ...compiler.ir import Ir, changes_of
from ..base_terms import BaseTerms
from ..errors import InputInvalid, NotRestartable, StepNotFound
from ..history.lineage import Lineage
from ..marking.named_steps import find_step
from ..marking.plan import Plan
from ..reenactment.enacting import play
from ..reenactment.impact import downstream, executed
from ..reenactment.oracle import Oracle
from ..reenactment.reenacting import Enacting
from ..reenactment.restarting import RestartPlan, restart_plan
from ..stores.connection import Connection
from ..stores.runs import RunRow
from ..stores.status import RunStatus
from ..submissions.submissions import encode_input
from .reenacted_retries import read_memory
from .wishes import Wish

AGAIN = frozenset({"rerun", "rebuild"})


def rerun_wish(steps: Sequence[str], input: Any = UNSET) -> Wish:
    """Return the wish that steps are executed again. input: what takes the place of the run's. Raises InputInvalid."""
    if not steps:
        raise InputInvalid("steps: name at least one, from which on the run is executed again")
    return Wish(trigger="rerun", terms=_terms("rerun", steps, input), input=_encoded(input))


def rebuild_wish(
    changes: Sequence[str],
    steps: Sequence[str],
    input: Any = UNSET,
    *,
    is_any_version: bool = False,
    key: str | None = None,
) -> Wish:
    """Return the wish of a rebuild. steps: executed again besides those of the changes. Raises InputInvalid."""
    if not changes and not steps:
        raise InputInvalid("changes: name at least one, or steps")
    terms = msgspec.structs.replace(_terms("rebuild", steps, input), change=",".join(sorted(set(changes))))
    return Wish(trigger="rebuild", terms=terms, input=_encoded(input), is_any_version=is_any_version, key=key)


def _terms(way: Any, steps: Sequence[str], input: Any) -> BaseTerms:
    return BaseTerms(way=way, steps=tuple(dict.fromkeys(steps)), has_input=input is not UNSET)


def _encoded(input: Any) -> bytes:
    return b"" if input is UNSET else encode_input(input)


def check_recorded(run: RunRow, terms: BaseTerms) -> None:
    """Raise NotRestartable where the log does not say as much of the run as its restart goes by."""
    if run.finished_at is not None or (run.started_at is not None and terms.way not in AGAIN):
        return
    told, reason = ("has not ended", "not_ended") if terms.way in AGAIN else ("has not begun", "unknown_event")
    hint = f"courante status {run.run_id} --watch"
    raise NotRestartable(f"{run.run_id} is {run.status}: it {told}", reason=reason, hint=hint)


def with_seeds(plan: Plan, run: RunRow, terms: BaseTerms) -> BaseTerms:
    """Return the terms with all steps that are executed again, in the order of the document, so that the same is the
    same in whatever order it is said. Raises NotRestartable, StepNotFound.
    """
    if terms.way == "rebuild" and run.status != RunStatus.COMPLETED:
        told = f"{run.run_id} is {run.status}: only what is complete is rebuilt"
        raise NotRestartable(told, reason="not_completed", hint=f"courante retry {run.run_id}")
    steps = [*terms.steps, *(step for change in _changes(terms) for step in _seeds(plan.ir, change))]
    for step in steps:
        if step not in plan.numbers or plan.ir.nodes[plan.numbers[step]].is_gate:
            find_step(plan, step, "")  # which says what is meant
            raise StepNotFound(f"{plan.ir.workflow!r} has no step {step!r}")
    return msgspec.structs.replace(terms, steps=tuple(sorted(set(steps), key=plan.numbers.__getitem__)))


def _changes(terms: BaseTerms) -> list[str]:
    return terms.change.split(",") if terms.change else []


def _seeds(ir: Ir, change: str) -> Sequence[str]:
    known: Mapping[str, Sequence[str]] = changes_of(ir)
    if change in known:
        return known[change]
    names = ", ".join(known) if known else "none: its document has no 'changes:'"
    told = f"{ir.workflow!r} knows no change {change!r:.200}; it knows {names}"
    raise NotRestartable(told, reason="unknown_change", hint=did_you_mean(change, list(known)))


def check_version(run: RunRow, lineage: Lineage, latest: tuple[int, str]) -> None:
    """Raise NotRestartable where the workflow is another one now. latest: its latest version and the IR of that."""
    version, ir_hash = latest
    if ir_hash == lineage.last.hash:
        return
    own = lineage.stages[-1].version
    told = f"{run.run_id} ran version {own} of {run.workflow!r}, and the latest is version {version}"
    hint = (
        f"--version base rebuilds it with version {own}; 'courante run {run.workflow}' builds all of version {version}"
    )
    raise NotRestartable(told, reason="other_version", hint=hint)


async def read_oracle(conn: Connection, lineage: Lineage, run_id: str) -> Oracle:
    """Return what the log of a run says of its steps. Raises Corrupt. Cost: its events; keeps their outputs."""
    return (await read_memory(conn, lineage, run_id)).oracle()


async def read_rerun(
    conn: Connection, lineage: Lineage, run_id: str, terms: BaseTerms, input: bytes | None
) -> RestartPlan:
    """Return what a run begins with that executes steps of another one again. Raises NotRestartable, Corrupt."""
    plan = lineage.last
    oracle = await read_oracle(conn, lineage, run_id)
    seeds = [plan.numbers[step] for step in terms.steps if step in plan.numbers]
    stop = frozenset(downstream(plan.ir, seeds))
    cut = (await play(Enacting(plan, oracle, stop=stop, input=input))).cut
    undone = [at for at in oracle.undone if at in cut.settled]
    if undone:
        names = ", ".join(dict.fromkeys(plan.node_ids[number] for number, _ in undone))
        told = f"when {run_id} ended, what it had done was undone ({names}): that cannot be taken over"
        raise NotRestartable(told, reason="undone", hint="begin with a step before these")
    ahead = executed(plan.ir, cut.marking)
    missed = [plan.node_ids[number] for number in seeds if number not in ahead]
    if missed and (terms.way == "rerun" or len(missed) == len(seeds)):
        told = f"the way that {run_id} took does not lead to {', '.join(missed)}"
        raise NotRestartable(told, reason="not_reached", hint="begin with the step that decides where it goes")
    return await run_sync(restart_plan, plan, cut)
