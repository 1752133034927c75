"""A run may be cut at any of its events and begun again: the new log tells the same state, and the new run ends.

Base runs are simulated, with all that may happen to them (``test_every_run_ends``). ``COURANTE_SIM_EXAMPLES`` sets how
many; of each, some places where it may be cut are tried, and at each the new run is driven to its end.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random

from courante.sdk.fold.fold import fold
from courante.sdk.marking.marking import Marking
from courante.sdk.reenactment.restarting import started
from model.eventful import eventful, taste_of
from model.restarts import NOW_MS, drawn_cuts, go_on, log_of, restart_of
from model.test_every_run_ends import FIRST, simulate

EXAMPLES = int(os.environ.get("COURANTE_SIM_EXAMPLES", "100"))
CUTS = 3
WANTED = {"on the floor", "t", "w", "signals", "values", "mutexes", "completed", "joins", "last"}
"""What some cut must have met, or nothing is shown."""


def test_the_new_log_tells_the_state_at_the_cut_and_the_new_run_ends() -> None:
    met: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for seed in range(FIRST, FIRST + EXAMPLES):
        base = simulate(seed)
        base.run()
        events = [event for call in base.log for event in call]
        for cut, renewed in drawn_cuts(base.plan, events, Random(seed), CUTS):
            restart = restart_of(base.plan, cut, renewed)
            if restart is None:
                continue
            log = log_of(base.plan, restart)
            assert fold(base.plan.ir, log) == started(restart.marking, NOW_MS), (seed, cut.seq)
            met.update(_met(restart.marking))
            again = go_on(base, restart.marking, log, eventful(seed, taste_of(seed)), seed)
            ends[again.drive()] += 1
    assert not WANTED - set(met), "the seeds are worth nothing"
    assert set(ends) == {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}


def _met(marking: Marking) -> list[str]:
    places = [str(token.place) or "on the floor" for token in marking.tokens.values()]
    return places + [name for name in WANTED if getattr(marking, name, None)]
