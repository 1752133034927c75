"""Dead letters as people see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from click import style
from msgspec import UNSET, UnsetType, to_builtins

from ...api.wire.commands import refusal_of, restart_of
from ...api.wire.dead_letters import DeadLetter as Told
from ...api.wire.dead_letters import dead_letter_of
from ...compiler.ir import Ir
from ...sdk.client.restarts import Restarted
from ...sdk.errors import CouranteError
from ...sdk.stores.dead_letters import DeadLetter
from ..texts import age_text, count_text, cut, iso, list_text

STATE_COLOURS = {"open": "red", "requeued": "cyan", "dropped": None}


@dataclass(frozen=True)
class DeadLetterView:
    """``told``: as it travels; its scope is as people read it."""

    letter: DeadLetter
    told: Told

    @classmethod
    def of(cls, letter: DeadLetter, ir: Ir | None) -> DeadLetterView:
        """ir: None where it is not known; the scope is then as it is given."""
        return cls(letter, dead_letter_of(letter, ir))

    @property
    def scope(self) -> str:
        return self.told.scope

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
        fields: dict[str, object] = to_builtins(self.told)
        return fields

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


REASONS = {
    "new": "new",
    "changed": "changed",
    "input_differs": "with another input",
    "failed": "failed",
    "undone": "undone when it ended",
    "emptied": "output not stored any more",
    "not_done": "not done yet",
    "follows": "what follows",
}
"""Why steps are executed, as people read it."""


def restarted_json(
    done: Restarted, *, is_dry: bool = False, by: str | UnsetType | None = UNSET, is_fork: bool = False
) -> dict[str, object]:
    """See ``restart_of``."""
    fields: dict[str, object] = to_builtins(restart_of(done, is_dry=is_dry, by=by, is_fork=is_fork))
    return fields


def restarted_line(done: Restarted, *, is_dry: bool = False) -> str:
    executed, kept = list_text(done.impacted) or "nothing", count_text(len(done.reused), "step")
    version = f" with version {done.version}" if done.way in ("migrated", "reenacted") else ""
    if is_dry and not done.is_new:
        return f"{done.base_run_id} was started again before, as {done.run_id}"
    if not done.is_new:
        return f"{done.base_run_id} was started again before: it is {done.run_id}; --again starts another run"
    if done.way == "reenacted":
        told = "would be enacted again" if is_dry else f"is enacted again as {done.run_id}"
    else:
        told = f"would go on after event {done.base_seq}" if is_dry else f"goes on as {done.run_id}"
    return f"{done.base_run_id} {told}{version}: {executed}; {kept} taken over"


def reason_lines(done: Restarted) -> list[str]:
    """Why each step is executed that is, and where, in loops and maps."""
    steps: dict[str, list[str]] = {}
    for step, reason in done.why.items():
        places = list_text(done.scopes.get(step, ()))
        steps.setdefault(reason, []).append(f"{step} ({places})" if places else step)
    return [f"    {REASONS[reason]}: {list_text(steps[reason])}" for reason in REASONS if reason in steps]


def refusal_json(run_id: str, error: CouranteError) -> dict[str, object]:
    fields: dict[str, object] = to_builtins(refusal_of(run_id, error))
    return fields
