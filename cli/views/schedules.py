"""A schedule as people see it: one JSON object, or lines; and its ticks as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from click import style

from ...api.wire.schedules import schedule_shown, tick_shown
from ...compiler.durations import format_duration
from ...sdk.schedules.schedule import KeptSchedule, Schedule
from ...sdk.schedules.tick import Tick
from ..output import Output
from ..texts import cut, iso

TICK_COLOURS = {"started": "cyan", "ended": "green", "failed": "red", "skipped": "yellow", "waiting": "yellow"}


def schedule_json(kept: KeptSchedule) -> dict[str, object]:
    """All fields, flat."""
    fields: dict[str, object] = msgspec.to_builtins(schedule_shown(kept))
    return fields


def tick_json(tick: Tick) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(tick_shown(tick))
    return fields


def show_schedule(out: Output, kept: KeptSchedule, following: Sequence[datetime]) -> None:
    """Lines for people."""
    asked = kept.schedule
    out.text(f"{style(asked.id, bold=True)}{f'  {asked.note}' if asked.note else ''}")
    version = "latest version" if asked.version is None else f"version {asked.version}"
    lines = {
        "workflow": f"{asked.workflow}, {version}",
        "when": when_text(asked),
        "status": status_text(kept),
        "rules": _rules(asked),
        "next": ", ".join(str(iso(at)) for at in following) or "never",
    }
    for name, text in lines.items():
        out.text(f"{name:<10}{text}")


def show_ticks(out: Output, ticks: Sequence[Tick]) -> None:
    rows = [
        [
            str(iso(tick.at)),
            "" if tick.origin == "schedule" else str(tick.origin),
            style(str(tick.state), fg=TICK_COLOURS.get(tick.state)),
            tick.run_id or cut(tick.reason or "", 80),
        ]
        for tick in ticks
    ]
    out.table(["tick", "by hand", "state", "run"], rows)


def when_text(asked: Schedule) -> str:
    """``0 2 * * * in Europe/Berlin``, ``every 10m``."""
    if asked.cron is not None:
        return f"{asked.cron} in {asked.timezone}"
    assert asked.every_ms is not None
    since = f" from {iso(asked.anchor)}" if asked.anchor is not None else ""
    return f"every {format_duration(asked.every_ms)}{since}"


def status_text(kept: KeptSchedule) -> str:
    if not kept.is_paused:
        return "active" if kept.next_tick is not None else "over"
    who = f" by {kept.pause_by}" if kept.pause_by else ""
    return f"paused{who}{f': {kept.pause_note}' if kept.pause_note else ''}"


def _rules(asked: Schedule) -> str:
    """What differs from one schedule to the next."""
    most = f" (at most {asked.catch_up_max})" if asked.catch_up == "all" else ""
    words = [f"overlap {asked.overlap}", f"catch-up {asked.catch_up}{most}"]
    if asked.jitter_ms:
        words.append(f"jitter up to {format_duration(asked.jitter_ms)}")
    words += [
        f"{word} {iso(at)}" for word, at in (("from", asked.starts_at), ("until", asked.ends_at)) if at is not None
    ]
    return ", ".join(words)
