"""Overlap: what the ticks that are due do while earlier runs go on. Pure.

- ``allow``: is started.
- ``skip``: is left out.
- ``buffer_one``: one waits, the first that came; the others are left out.
- ``buffer_all``: all wait, and are started one after the other.
- ``cancel_previous``: the earlier runs are cancelled, and it is started when they have ended; of several that wait for
  that, the latest.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .input import tick_text
from .schedule import Overlap
from .tick import Tick


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """``skip``: with the reason. ``cancel``: the ticks whose runs are to end. What is not named goes on waiting."""

    start: list[Tick]
    skip: list[tuple[Tick, str]]
    cancel: list[Tick]


def decide(running: Sequence[Tick], due: Sequence[Tick]) -> Decision:
    """Decide on one lane of one schedule.

    running: ticks whose runs have not ended. due: those that wait and whose time has come, in order.
    """
    busy = running[-1].run_id if running else None
    start: list[Tick] = []
    replacing = [tick for tick in due if tick.overlap is Overlap.CANCEL_PREVIOUS]
    skip = [(tick, f"overlap: the tick {tick_text(replacing[-1].at)} has come") for tick in replacing[:-1]]
    passed = {tick.at for tick in replacing[:-1]}
    buffered: Tick | None = None
    cancel: list[Tick] = []
    for tick in due:
        if tick.at in passed:
            continue
        if busy is None or tick.overlap is Overlap.ALLOW:
            start.append(tick)
            busy = busy or f"of the tick {tick_text(tick.at)}"
        elif tick.overlap is Overlap.SKIP:
            skip.append((tick, f"overlap: the run {busy} has not ended"))
        elif tick.overlap is Overlap.CANCEL_PREVIOUS:
            cancel = list(running)
        elif tick.overlap is Overlap.BUFFER_ONE and buffered is not None:
            skip.append((tick, f"overlap: the tick {tick_text(buffered.at)} waits already"))
        elif tick.overlap is Overlap.BUFFER_ONE:
            buffered = tick
    return Decision(start=start, skip=skip, cancel=cancel)
