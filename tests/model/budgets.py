"""Runs with a budget, drawn: steps that call a model, some for items of a map, with whatever may happen to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from courante.runner.budgets import ask_budget, lost_calls
from courante.runner.work import Work
from courante.sdk.outcomes.outcomes import Outcome, Succeeded
from courante.sdk.spending.spent import Spent, total
from courante.testing.simulation import Chances

MOST = Spent(provider="openai", model="m", calls=1, output_tokens=100, cost=1_000, currency="USD")
CHANCES = [
    Chances(meddling=0.0, crashing=0.0, giving_back=0.0),
    Chances(crashing=0.3, twice=0.3, stale=0.2, giving_back=0.2, meddling=0.0),
    Chances(meddling=0.2, commands=("pause", "resume", "cancel_step", "force_skip", "force_succeed", "raise_budget")),
    Chances(crashing=0.2, losing=0.03, giving_back=0.1, meddling=0.05, cancelling=0.1),
]


def drawn(seed: int) -> dict[str, Any]:
    random = Random(seed)
    calls = random.randint(0, 12)
    budget: dict[str, Any] = {"on_exhausted": random.choice(("fail", "park"))}
    if random.random() < 0.7:
        budget["tokens"] = calls * 100 + random.randint(0, 60)
    if "tokens" not in budget or random.random() < 0.5:
        budget |= {"cost": calls * 1e-6, "currency": "USD"}
    policy: dict[str, Any] = {"budget": budget, "on_failure": random.choice(("fail_fast", "continue"))}
    if random.random() < 0.4:
        policy["max_parallel"] = random.randint(1, 4)
    items = {"items": "input.items", "max_concurrency": random.randint(1, 9)}
    ends = {"policy": random.choice(("fail_fast", "collect"))}
    nodes: list[dict[str, Any]] = [
        {"id": "each", "type": "map", "config": items},
        {**_call("ask", random), "depends_on": "each"},
        {"id": "all", "type": "aggregate", "depends_on": "ask", "config": ends},
        *({**_call(f"n{number}", random)} for number in range(random.randint(0, 5))),
        {**_call("last", random), "depends_on": "all"},
    ]
    return {"courante": 1, "id": "spends", "policy": policy, "nodes": nodes}


def _call(node: str, random: Random) -> dict[str, Any]:
    made: dict[str, Any] = {"id": node, "type": "function", "config": {"handler": "ask"}}
    if random.random() < 0.5:
        made["retry"] = {"max_attempts": 3, "base": "1ms"}
    if random.random() < 0.3:
        made["queue_timeout"] = "5s"
    if random.random() < 0.2:
        made["concurrency"] = {"key": "'k'", "limit": 2}
    return made


@dataclass
class Calls:
    """What handlers do: reserve, call, and tell what it took. ``made``: what all calls took that came to an end."""

    seed: int
    made: list[Spent] = field(default_factory=list[Spent])

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def __call__(self, work: Work) -> Outcome:
        for _ in range(lost_calls(work)):
            work.spent = work.spent.plus(Spent(calls=1, unknown=1, output_tokens=100, cost=1_000, currency="USD"))
        asked = ask_budget(work, MOST)
        if asked is not None:
            return asked
        tokens = 10 * int.from_bytes(work.key.encode()) % 11
        spent = Spent(calls=1, output_tokens=tokens, cost=10 * tokens, currency="USD")
        self.made.append(spent)
        work.spent = work.spent.plus(spent)
        if (int.from_bytes(work.key.encode()) + work.attempt + self.seed) % 5 == 0:
            raise ConnectionError("the line is cut")
        return Succeeded(b"1")

    def total(self) -> Spent:
        return total(self.made)
