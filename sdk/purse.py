"""The purse: what a run with a budget has spent, and who waits for a part of it. The twin of lua/includes/purse.lua.

A token that is about to call a model asks for what the call can take at most. It is parked, at the end of a row, and
the end of the transition lets in whoever comes first, as long as what is spent, reserved and asked for is within the
limits: its word ``wants=`` becomes ``paid=``, a reservation that it holds until its next transition says what was
spent. Where the budget has not so much even if nothing were reserved, it is refused by policy, or waits until somebody
raises it. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..compiler.ir import Ir, budget_of
from ..compiler.workflow import OnExhausted
from .scopes import Scope
from .spending.spent import Spent

At = tuple[int, Scope]

WANTS, PAID = "wants=", "paid="
BROKE = "broke"
"""The word of a token that was refused."""


class Amount(NamedTuple):
    """``cost`` in billionths of the budget's currency. ``deliveries``: of the token when it asked."""

    tokens: int
    cost: int
    deliveries: int = 0


@dataclass(slots=True, eq=False)
class Purse:
    """``tokens``, ``cost``: the limits, None: without. ``waiting``: in order, a set."""

    tokens: int | None
    cost: int | None
    refuses: bool = True
    spent_tokens: int = 0
    spent_cost: int = 0
    waiting: dict[At, None] = field(default_factory=lambda: {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Purse) and self._known() == other._known()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def _known(self) -> tuple[object, ...]:
        return self.tokens, self.cost, self.refuses, self.spent_tokens, self.spent_cost, [*self.waiting]

    def fits(self, asked: Amount, reserved: Amount) -> bool:
        """Whether what is asked for may be taken beside what is reserved."""
        tokens = self.spent_tokens + reserved.tokens + asked.tokens
        cost = self.spent_cost + reserved.cost + asked.cost
        return (self.tokens is None or tokens <= self.tokens) and (self.cost is None or cost <= self.cost)

    def spend(self, tokens: int, cost: int) -> None:
        self.spent_tokens += tokens
        self.spent_cost += cost

    def enlarge(self, tokens: int, cost: int) -> None:
        """A limit that there is not needs no more."""
        self.tokens = None if self.tokens is None else self.tokens + tokens
        self.cost = None if self.cost is None else self.cost + cost


def purse_of(ir: Ir) -> Purse | None:
    """The full purse of a new run; None where it may spend without limit."""
    budget = budget_of(ir)
    if budget is None:
        return None
    return Purse(budget.tokens, budget.cost, budget.on_exhausted is OnExhausted.FAIL)


def wants(asked: Amount) -> str:
    """The word of a token that asks."""
    return f"{WANTS}{asked.tokens}.{asked.cost}.{asked.deliveries}"


def wanted(extra: str) -> Amount | None:
    """What a token asks for, by its words."""
    return _amount(extra, WANTS)


def paid(extra: str) -> Amount | None:
    """What is reserved for a token, by its words."""
    return _amount(extra, PAID) if PAID in extra else None


def granted(extra: str) -> str:
    """The words of a token that is let in."""
    return "+".join(PAID + word[len(WANTS) :] if word.startswith(WANTS) else word for word in extra.split("+"))


def refused(extra: str) -> str:
    """The words of a token that is refused."""
    return "+".join(BROKE if word.startswith(WANTS) else word for word in extra.split("+"))


def without_purse(extra: str) -> str:
    """The words without any of these."""
    words = extra.split("+")
    return "+".join(word for word in words if word != BROKE and not word.startswith((WANTS, PAID)))


def charge(ir: Ir, spent: Spent) -> tuple[int, int]:
    """What is taken from the purse: tokens, and the cost where it is in the budget's currency."""
    budget = budget_of(ir)
    cost = spent.cost if budget is not None and spent.currency == budget.currency else 0
    return spent.tokens, cost


def _amount(extra: str, head: str) -> Amount | None:
    for word in extra.split("+"):
        if word.startswith(head):
            return Amount(*map(int, word[len(head) :].split(".")))
    return None
