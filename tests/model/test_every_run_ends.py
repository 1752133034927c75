"""Every run of a random graph ends, whatever people, clocks and dying workers do to it.

In memory, thousands of seeds a minute: random failures, retries, approvals that expire, signals, mutexes, milestones,
withdrawals, compensation, cancelling, pauses, takeovers, servers that forget everything and are rebuilt. The
invariants of ``testing.invariants`` hold after every step. ``COURANTE_SIM_EXAMPLES=10000`` is the long form.
"""

from __future__ import annotations

import os
from collections import Counter

from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Simulation
from model.compiled import plan_of
from model.eventful import Handlers, begin, eventful, taste_of

EXAMPLES = int(os.environ.get("COURANTE_SIM_EXAMPLES", "300"))
FIRST = 100_000
"""Other seeds than those that are driven on Redis too."""


def simulate(seed: int) -> Simulation:
    document = eventful(seed, taste_of(seed))
    plan = plan_of(document)
    return begin(seed, MemoryFloor(plan), plan, Handlers(document, seed))


def test_every_run_ends() -> None:
    """And the seeds are worth something: every kind of end, and every kind of event of a waiting token, occurs."""
    ends: Counter[str] = Counter()
    words: set[str] = set()
    losses = 0
    for seed in range(FIRST, FIRST + EXAMPLES):
        simulation = simulate(seed)
        ends[simulation.run()] += 1
        losses += sum(line.startswith("lose ") for line in simulation.trace)
        words.update(line.split()[1] for line in simulation.trace if line.startswith("  "))
    assert set(ends) == {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}
    missing = {
        "approval.granted", "approval.rejected", "approval.escalated", "closing.released", "compensation.started",
        "mutex.granted", "run.woken", "slot.granted", "step.retried", "step.withdrawn", "token.claimed", "token.forced",
        "token.overdue", "token.released",
    } - words  # fmt: skip
    assert not missing
    assert losses > EXAMPLES // 3, "servers that forget everything are part of it"


def test_a_seed_gives_the_same_trace_every_time() -> None:
    for seed in range(FIRST, FIRST + 20):
        one, other = simulate(seed), simulate(seed)
        assert one.run() == other.run()
        assert one.trace == other.trace
