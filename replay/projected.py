"""The projections of one run, held against what its log says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..sdk.fold.fold_ends import FINAL
from ..sdk.marking.marking import RunPhase
from ..sdk.spending.spent import Spent
from ..sdk.stores.runs import RunRow, StepRow
from ..sdk.stores.spending import AttemptSpent
from .history import History
from .steps import StepKey, StepState, StepStates


class Mismatch(NamedTuple):
    """``seq``: of the event from which on a projection says otherwise. ``expected``: by the log."""

    seq: int
    what: str
    expected: str
    found: str


def compare_run(history: History, row: RunRow) -> list[Mismatch]:
    """Compare the row of ``runs``."""
    last = history.marking.seq
    has_ended = history.status in FINAL.values()
    expected = {
        "status": _status(history, row),
        "workflow": history.plan.ir.workflow,
        "ir_hash": history.plan.hash,
        "output_seq": str(last if history.status == "COMPLETED" else None),
        "is_halted": str(history.marking.phase is RunPhase.HALTED),
        "finished": str(has_ended),
    }
    found = {
        "status": "RUNNING" if row.status == "WAITING" else str(row.status),
        "workflow": row.workflow,
        "ir_hash": row.ir_hash,
        "output_seq": str(row.output_seq),
        "is_halted": str(row.is_halted),
        "finished": str(row.finished_at is not None),
    }
    return [
        Mismatch(last, f"run.{name}", value, found[name]) for name, value in expected.items() if value != found[name]
    ]


def compare_steps(states: StepStates, rows: Sequence[StepRow], last: int) -> list[Mismatch]:
    """Compare the rows of ``node_executions``, each with what the log says of that attempt. last: its last event."""
    mismatches: list[Mismatch] = []
    projected = {StepKey(row.node, row.scope, row.attempt): row for row in rows}
    for key, state in states.all.items():
        row = projected.pop(key, None)
        if row is None:
            mismatches.append(Mismatch(state.seq, _name("status", key), state.status, "no row"))
        else:
            mismatches += _compare(key, state, row)
    mismatches += [Mismatch(last, _name("status", key), "no row", str(row.status)) for key, row in projected.items()]
    return mismatches


def compare_spending(history: History, attempts: Sequence[AttemptSpent], totals: Sequence[Spent]) -> list[Mismatch]:
    """Compare what is kept of spending, of attempts and of the run by currency."""
    last = history.marking.seq
    expected = {(_name("spent", key), currency): spent for (key, currency), spent in history.steps.spent.items()}
    sums: dict[tuple[str, str], Spent] = {}
    for spent in history.steps.spent.values():
        known = sums.get(("run.spent", spent.currency))
        sums["run.spent", spent.currency] = spent if known is None else known.plus(spent)
    names = {"provider": "", "model": ""}
    expected |= {key: msgspec.structs.replace(spent, **names) for key, spent in sums.items()}
    found = {
        (_name("spent", StepKey(one.node, one.scope, one.attempt)), one.spent.currency): one.spent for one in attempts
    }
    found |= {("run.spent", spent.currency): spent for spent in totals}
    return [
        Mismatch(last, key[0], _text(expected.get(key)), _text(found.get(key)))
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key) != found.get(key)
    ]


def _text(spent: Spent | None) -> str:
    return "nothing" if spent is None else msgspec.json.encode(spent).decode()


def _compare(key: StepKey, state: StepState, row: StepRow) -> list[Mismatch]:
    pairs = {
        "status": (state.status, str(row.status)),
        "reason": (state.reason, row.reason or ""),
        "output_seq": (str(state.output_seq), str(row.output_seq)),
    }
    return [
        Mismatch(state.seq, _name(field, key), expected, found)
        for field, (expected, found) in pairs.items()
        if expected != found
    ]


def _name(field: str, key: StepKey) -> str:
    scope = f" {key.scope}" if key.scope else ""
    return f"step.{field} {key.node}{scope} attempt {key.attempt}"


def _status(history: History, row: RunRow) -> str:
    """A step that fails ends a pause too, by itself: the rows hear of it only with the run's end."""
    phase = history.marking.phase
    is_stale = row.status == "PAUSED" and phase in (RunPhase.DRAINING, RunPhase.COMPENSATING)
    return "PAUSED" if phase is RunPhase.PAUSED or is_stale else history.status
