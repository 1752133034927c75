"""Fault points: named places in the engine where a test ends, stops or disturbs the process, in exactly that window.

``COURANTE_FAULT=after_handler:3:kill9`` means: the third time this process comes to ``after_handler``, it gets SIGKILL.
Several are joined by commas. Where the variable is not set, a point costs one look at a constant. Not for users; the
harness that uses it is tests/chaos.

Actions: ``kill9``; ``stop`` (SIGSTOP: until somebody sends SIGCONT); ``raise`` (a connection error, as if the answer of
the call before had been lost); ``sleep:<ms>`` (everything in this thread stands still).
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

VARIABLE = "COURANTE_FAULT"

POINTS = frozenset(
    {
        "before_handler",  # a token was delivered, its step not yet called
        "after_handler",  # the step has returned, nothing of it is handed in
        "before_advance",  # a worker's call is made up, not yet sent
        "after_advance",  # it was answered, the answer not yet read
        "before_commit",  # a recorder has copied a batch, nothing is committed
        "after_commit",  # the batch is in the log, nobody was told
        "before_trim",
        "after_trim",
        "before_mark",  # a supervisor has found a counter at zero, the run not yet ended
        "after_mark",  # the run has ended, its entry may be deleted only now
        "before_intake",  # submissions were read, not yet committed
        "after_intake",  # they are committed, their entries still pending
        "before_reconcile",  # starts were found that Redis misses, not yet applied
        "after_reconcile",
        "before_commands",  # once for each run with commands that Redis misses
        "after_commands",
        "before_epoch",  # a recovery is about to begin a new epoch in Postgres
        "after_epoch",  # it is given out, Redis is still open in the old one
        "after_close",
        "after_drain",  # what continued the log is recorded
        "after_set_aside",  # the outbox begins anew, the cursor not yet
        "after_clear",  # no run is left in Redis
        "before_restore",  # once for each batch of runs
        "after_restore",
        "before_open",
        "after_open",
        "before_timers",  # timers are about to be released
        "after_timers",
        "before_tick",  # ticks of schedules are to be started, nothing is submitted
        "after_tick",  # their runs are accepted, the ticks not yet marked
        "before_child",  # a child run is taken up, not yet submitted
        "after_child",  # it is accepted, nobody has noted so
        "before_child_told",  # a child run has ended, or was refused; its step does not know
        "after_child_told",  # its step is told, nobody has noted so
        "before_migrate",  # a run's move to another version is proved, not yet made
        "after_migrate",  # it is made, nobody was told
        "after_step_lines",  # what steps have said is stored, and stands in Redis still
        "before_claims",  # tokens in silent hands are about to be taken over
        "after_claims",
        "before_archive_finished",  # a month is written, and not yet in its place
        "before_manifest",  # it is in its place, its manifest is not
        "before_archive_verified",  # the archive is whole, nobody has read it yet
        "before_month_taken_out",  # it holds what the log does, nothing has left the log
        "after_month_taken_out",
        "after_empty_run",  # a run is forgotten in Postgres, Redis still has of it
        "after_leave_redis",
    }
)


class InjectedFault(ConnectionError):
    """What the action ``raise`` raises."""


def reach(point: str) -> None:
    """Do what is asked for at this point, if anything is. Raises InjectedFault."""
    if not _ARMED:
        return
    turns = _ARMED.get(point)
    if turns is None:
        return
    _reached[point] += 1
    act = turns.get(_reached[point])
    if act is not None:
        act()


def read_faults(text: str) -> dict[str, dict[int, Callable[[], None]]]:
    """Return the actions by point and turn. Raises ValueError for what is no point, turn or action."""
    faults: dict[str, dict[int, Callable[[], None]]] = {}
    for word in filter(None, text.split(",")):
        point, _, rest = word.partition(":")
        turn, _, action = rest.partition(":")
        name, _, argument = action.partition(":")
        if point not in POINTS:
            raise ValueError(f"{VARIABLE}: there is no point {point!r}; known are {', '.join(sorted(POINTS))}")
        if not turn.isdecimal() or int(turn) < 1:
            raise ValueError(f"{VARIABLE}: {word!r} says no turn; it is a number from 1, as in {point}:1:kill9")
        if name == "sleep" and argument.isdecimal():
            faults.setdefault(point, {})[int(turn)] = partial(time.sleep, int(argument) / 1000)
        elif not argument and name in _ACTIONS:
            faults.setdefault(point, {})[int(turn)] = _ACTIONS[name]
        else:
            raise ValueError(f"{VARIABLE}: {action!r} is no action; known are {', '.join(_ACTIONS)} and sleep:<ms>")
    return faults


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _raise() -> None:
    raise InjectedFault("a fault point was asked to lose its connection")


_ACTIONS: Mapping[str, Callable[[], None]] = {"kill9": _kill, "stop": _stop, "raise": _raise}
_reached: Counter[str] = Counter()
_ARMED: Final = read_faults(os.environ.get(VARIABLE, ""))
