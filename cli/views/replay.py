"""The state of a run at an event, as people read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from click import style

from ..output import Output, status_text

VALUE_CHARS_MAX = 200
Fields = dict[str, Any]


def show_state(out: Output, run_id: str, state: Fields) -> None:
    """Tell a state as ``replay.state.marking_to_json`` has it. Values that are long are cut; --json has them whole."""
    reason = f" ({state['reason']})" if state["reason"] else ""
    out.text(f"{style(run_id, bold=True)} after event {state['seq']:,}: {status_text(state['status'])}{reason}")
    out.text(f"input {_value(state['input'])}")
    _section(out, "tokens", [[_place(one), _token(one)] for one in state["tokens"]])
    _section(out, "joins", [[_place(one), _join(one)] for one in state["joins"]])
    _section(out, "steps", [[_place(one), status_text(one["status"])] for one in state["steps"]])
    for name in ("outputs", "errors"):
        _section(out, name, [[_place(one), _value(one["value"])] for one in state[name]])


def _section(out: Output, name: str, rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    out.text()
    out.table([name, ""], rows)


def _place(one: Fields) -> str:
    return f"{one['node']} {one['scope']}".strip()


def _token(one: Fields) -> str:
    said = [one["kind"]]
    said += [f"attempt {one['attempt']}"] if "attempt" in one else []
    said += [f"due {one['due']}"] if "due" in one else []
    said += [f"waits for {', '.join(one['waits_for'])}"] if "waits_for" in one else []
    said += [one["because"]] if "because" in one else []
    return ", ".join(said)


def _join(one: Fields) -> str:
    said = [f"{one['live']} live", f"{one['dead']} dead", f"of {one['arity']}"]
    said += [f"{one['failed']} failed"] if one["failed"] else []
    said += ["settled"] if one["settled"] else []
    said += [f"loop {one['loop']}"] if "loop" in one else []
    return ", ".join(said)


def _value(value: object) -> str:
    """As JSON; a value that is stored apart is told by its size."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}... ({len(text):,} characters)"
