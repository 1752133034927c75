"""Elsewhere: steps whose handler or tool this worker does not have are given back; another worker may have it.

At first for a moment only. Who has the handler mostly waits in a read already, behind those that have not, and each
time that a step comes back the next in line gets it. Then for longer, so that a step that nobody can run costs little,
and never twice for the same time: a read ends after ``BLOCK_MS`` and goes to the end of the line, and with a delay in
step with that the same worker would be given the step again and again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable

import structlog

from ..sdk.authoring.tools import named_handler
from ..sdk.floor.presence import Wanted
from ..sdk.outcomes.outcomes import GivenBack
from ..sdk.outcomes.retrying import draw_of
from .work import Work

DELAY_MS_MIN, DELAY_MS_MAX = 50, 1_000
DOUBLINGS_MAX = 5
FORGOTTEN_S = 60.0
"""After so long without a step it is as if it had never been here; and so often is said what is missing."""
STEPS_MAX = 10_000
WANTED_S = 10.0
"""A handler that no step has asked for within it is not wanted any more: a step comes back more often than that."""
WANTED_MAX = 100
log = structlog.get_logger()


class Elsewhere:
    """For one worker."""

    def __init__(self) -> None:
        self._times: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._said: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._wanted: OrderedDict[Wanted, float] = OrderedDict()

    def give_back(self, work: Work, *missing: str) -> GivenBack:
        """missing: handlers, as presence names them; they are logged once a minute for each step of a workflow."""
        now_s = time.monotonic()
        queue = work.node.stream.rpartition(":")[0]
        self.want((Wanted(name, queue, work.plan.ir.workflow, work.node.id) for name in missing), now_s)
        place = (work.plan.hash, work.node.id)
        if now_s - self._said.get(place, -FORGOTTEN_S) >= FORGOTTEN_S:
            self._said[place] = now_s
            self._said.move_to_end(place)
            if len(self._said) > STEPS_MAX:
                self._said.popitem(last=False)
            told = ", ".join(map(named_handler, missing))
            log.warning("handler_unknown", handler=told, node=work.node.id, run_id=work.run_id)
        return GivenBack(self.delay_ms(work.run_id, work.key, now_s))

    def wanted(self, now_s: float) -> list[Wanted]:
        """Return what steps have asked for of late and this worker has not."""
        self.want((), now_s)
        return [*self._wanted]

    def want(self, some: Iterable[Wanted], now_s: float) -> None:
        """Take note of what a step asks for in vain."""
        while self._wanted and now_s - next(iter(self._wanted.values())) >= WANTED_S:
            self._wanted.popitem(last=False)
        for one in some:
            if one in self._wanted or len(self._wanted) < WANTED_MAX:
                self._wanted[one] = now_s
                self._wanted.move_to_end(one)

    def delay_ms(self, run_id: str, key: str, now_s: float) -> int:
        """Return for how long a token is given back this time."""
        token = (run_id, key)
        while self._times and now_s - next(iter(self._times.values()))[1] >= FORGOTTEN_S:
            self._times.popitem(last=False)
        times = self._times[token][0] if token in self._times else 0
        if token in self._times or len(self._times) < STEPS_MAX:
            self._times[token] = times + 1, now_s
            self._times.move_to_end(token)
        else:
            times = DOUBLINGS_MAX  # too many to count: as if it had come often
        longest_ms = min(DELAY_MS_MAX, DELAY_MS_MIN << min(times, DOUBLINGS_MAX))
        return round(longest_ms * (1 + draw_of(run_id, key, times)) / 2)
