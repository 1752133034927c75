"""Signals in a document: the config of a node of type ``signal``.

``{name, expires}`` waits for one signal and fails when its time is over; ``{first_of: [{name}, {name}, {after}]}`` is a
deferred choice, in which the time is one of the events.
"""

from __future__ import annotations

from typing import Any

from .diagnostics import Path
from .durations import format_duration
from .findings import Findings, quote
from .reading import SIGNAL_PATTERN, missing_field, read_duration, read_fields, read_list, read_pattern
from .workflow import Json, Signal

EVENTS_MAX = 32


def read_signal(config: dict[str, Json], path: Path, findings: Findings) -> Signal:
    """Read the whole config. A name stands once, a time too."""
    fields = read_fields(config, path, findings, _READERS)
    if "first_of" not in fields:
        if "name" not in fields:
            missing_field("name", path, findings, "say 'name' or 'first_of'")
        return Signal(names=(fields.get("name", ""),), after_ms=fields.get("expires"))
    for other in ("name", "expires"):
        if other in fields:
            message = f"'first_of' and {other!r} exclude each other"
            hint = "write it into first_of" if other == "name" else "write {after: ...} into first_of"
            findings.error("conflicting_fields", message, (*path, other), hint)
    return _choice(fields["first_of"], (*path, "first_of"), findings)


def write_signal(signal: Signal) -> dict[str, Json]:
    """The config as ``read_signal`` reads it."""
    after = None if signal.after_ms is None else format_duration(signal.after_ms)
    if signal.is_choice:
        events: list[Json] = [{"name": name} for name in signal.names]
        return {"first_of": events if after is None else [*events, {"after": after}]}
    written: dict[str, Json] = {"name": signal.names[0]}
    return written if after is None else {**written, "expires": after}


def _choice(events: list[dict[str, Any]], path: Path, findings: Findings) -> Signal:
    names: dict[str, int] = {}
    after_ms: int | None = None
    for index, event in enumerate(events):
        name = event.get("name")
        if name and names.setdefault(name, index) != index:
            message = f"the signal {quote(name)} stands twice (events {names[name]} and {index})"
            findings.error("duplicate_event", message, (*path, index, "name"), "leave one of them out")
        if "after" in event:
            if after_ms is not None:
                message = "first_of has two times; only the shorter one could ever come"
                findings.error("duplicate_event", message, (*path, index, "after"), "leave one of them out")
            after_ms = event["after"]
    return Signal(names=tuple(names), after_ms=after_ms, is_choice=True)


def _first_of(value: Json, path: Path, findings: Findings) -> list[dict[str, Any]]:
    written = read_list(value, path, findings)
    if len(written) > EVENTS_MAX:
        findings.error("out_of_range", f"first_of has {len(written)} events; at most {EVENTS_MAX}", path)
    events = [_event(each, (*path, index), findings) for index, each in enumerate(written[:EVENTS_MAX])]
    if isinstance(value, list) and not any("name" in event or not event for event in events):
        missing_field("name", path, findings, "first_of needs one signal at least; to wait for a time only: type wait")
    return events


def _event(value: Json, path: Path, findings: Findings) -> dict[str, Any]:
    event = read_fields(value, path, findings, _EVENT_READERS)
    if "name" in event and "after" in event:
        message = "'name' and 'after' exclude each other"
        findings.error("conflicting_fields", message, (*path, "after"), "write two events")
    elif not event and value == {}:
        missing_field("name", path, findings, "say 'name' or 'after'")
    return event


def _name(value: Json, path: Path, findings: Findings) -> str:
    return read_pattern(value, path, findings, SIGNAL_PATTERN, "bad_name")


def _time(value: Json, path: Path, findings: Findings) -> int:
    return read_duration(value, path, findings, low_ms=1)


_READERS = {"name": _name, "expires": _time, "first_of": _first_of}
_EVENT_READERS = {"name": _name, "after": _time}
