"""A budget is never spent twice, whatever happens; and nobody waits for what is there."""

from __future__ import annotations

import os

from courante.sdk.spending.spent import SPENT, kept_spent, total
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Simulation
from model.budgets import CHANCES, Calls, drawn
from model.compiled import plan_of

EXAMPLES = int(os.environ.get("COURANTE_MODEL_EXAMPLES", "0"))
ITEMS = b'{"items": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}'


def test_what_is_spent_stays_within_the_budget() -> None:
    """By what the log tells, by the purse, and by the calls that were made and settled."""
    seen: set[str] = set()
    for seed in range(EXAMPLES or 80):
        plan = plan_of(drawn(seed))
        calls = Calls(seed)
        run = Simulation(
            plan=plan,
            handler=calls,
            floor=MemoryFloor(plan),
            seed=seed,
            input=ITEMS,
            chances=CHANCES[seed % len(CHANCES)],
        )
        run.run()
        purse = run.floor.marking().purse
        assert purse is not None
        assert purse.tokens is None or purse.spent_tokens <= purse.tokens, f"seed {seed}"
        assert purse.cost is None or purse.spent_cost <= purse.cost, f"seed {seed}"
        events = [event for call in run.log for event in call]
        told = total(kept_spent(event.facts.data) for event in events if SPENT in event.facts.data)
        assert told.tokens <= purse.spent_tokens, f"seed {seed}"
        assert purse.cost is None or told.cost <= purse.spent_cost, f"seed {seed}"
        seen |= {event.facts.type for event in events}
        seen |= {event.facts.error.type for event in events if event.facts.error is not None}
    wanted = {
        "budget.granted",
        "budget.refused",
        "BUDGET_EXHAUSTED",
        "spending.recorded",
        "token.claimed",
        "token.forced",
    }
    assert not wanted - seen, "the seeds are worth nothing"
