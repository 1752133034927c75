"""Dead letters as people see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from click import style

from ..compiler.ir import Ir
from ..sdk.errors import CouranteError, NotRestartable
from ..sdk.restarts import Restarted
from ..sdk.scopes import parse_scope_key, scope_text
from ..sdk.stores.dead_letters import DeadLetter
from .texts import age_text, count_text, cut, iso, list_text

STATE_COLOURS = {"open": "red", "requeued": "cyan", "dropped": None}


@dataclass(frozen=True)
class DeadLetterView:
    """``scope``: as people read it."""

    letter: DeadLetter
    scope: str

    @classmethod
    def of(cls, letter: DeadLetter, ir: Ir | None) -> DeadLetterView:
        """ir: None where it is not known; the scope is then as the log has it."""
        number = None if ir is None else next((n for n, node in enumerate(ir.nodes) if node.id == letter.node), None)
        if ir is None or number is None:
            return cls(letter, letter.scope)
        return cls(letter, scope_text(ir, number, parse_scope_key(letter.scope)))

    @property
    def label(self) -> str:
        return f"{self.letter.node} {self.scope}".strip()

    @property
    def fault(self) -> str:
        """``FatalError: the shop is closed``."""
        error = self.letter.error
        return "" if error is None else f"{error.type}: {error.message}" if error.message else error.type

    @property
    def fate(self) -> str:
        """What has become of it."""
        letter = self.letter
        if letter.state == "requeued":
            return f"requeued as {letter.requeued_as}"
        if letter.state == "dropped":
            who = f" by {letter.dropped_by}" if letter.dropped_by else ""
            return f"dropped{who}{f': {letter.drop_reason}' if letter.drop_reason else ''}"
        return "open"

    def to_json(self) -> dict[str, object]:
        letter, error = self.letter, self.letter.error
        told = None if error is None else {"type": error.type, "message": error.message, "kind": error.kind}
        if told is not None and error is not None:
            told |= {"class": error.failure_class, "worker": error.worker, "traceback": error.traceback}
        return {
            "run_id": letter.run_id,
            "workflow": letter.workflow,
            "version": letter.version,
            "tags": list(letter.tags),
            "step": letter.node,
            "scope": self.scope,
            "attempts": letter.attempt,
            "error": told,
            "failed_at": iso(letter.failed_at),
            "seq": letter.seq,
            "state": letter.state,
            "requeued_as": letter.requeued_as,
            "dropped_by": letter.dropped_by,
            "drop_reason": letter.drop_reason,
            "dropped_at": iso(letter.dropped_at),
        }

    def row(self, now: datetime, *, shows_state: bool) -> list[str]:
        age = age_text((now - self.letter.failed_at).total_seconds())
        state = [style(self.letter.state, fg=STATE_COLOURS[self.letter.state])] if shows_state else []
        return [self.letter.run_id, self.letter.workflow, self.label, age, *state, cut(self.fault, 200)]

    def lines(self) -> list[str]:
        """Everything about one of them, with the end of its traceback."""
        letter, error = self.letter, self.letter.error
        kind = f" ({error.kind})" if error is not None and error.kind else ""
        tags = f" [{', '.join(letter.tags)}]" if letter.tags else ""
        lines = [
            style(f"{self.label} of {letter.run_id}", bold=True),
            f"  workflow  {letter.workflow} v{letter.version}{tags}",
            f"  failed    {iso(letter.failed_at)}, attempt {letter.attempt}, event {letter.seq}",
            f"  error     {cut(self.fault, 1_000)}{kind}",
            f"  state     {self.fate}",
        ]
        if error is not None and error.traceback:
            lines += [style(f"    {line}", dim=True) for line in error.traceback.strip().splitlines()[-12:]]
        return lines


def restarted_json(done: Restarted, *, is_dry: bool = False) -> dict[str, object]:
    """A run that goes on from another one; dry: that would."""
    said: dict[str, object] = {} if is_dry else {"run_id": done.run_id, "is_new": done.is_new}
    said |= {"base_run_id": done.base_run_id, "base_seq": done.base_seq}
    return said | {"impacted": list(done.impacted), "reused": list(done.reused)}


def restarted_line(done: Restarted, *, is_dry: bool = False) -> str:
    executed, kept = list_text(done.impacted), count_text(len(done.reused), "step")
    if is_dry and not done.is_new:
        return f"{done.base_run_id} was started again before, as {done.run_id}"
    if is_dry:
        return f"{done.base_run_id} would go on after event {done.base_seq}: {executed}; {kept} taken over"
    if not done.is_new:
        return f"{done.base_run_id} was started again before: it is {done.run_id}; --again starts another run"
    return f"{done.base_run_id} goes on as {done.run_id}: {executed}; {kept} taken over"


def refusal_json(run_id: str, error: CouranteError) -> dict[str, object]:
    reason = error.reason if isinstance(error, NotRestartable) else ""
    return {"base_run_id": run_id, "code": error.code, "reason": reason, "message": error.message, "hint": error.hint}
