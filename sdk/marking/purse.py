"""The purse: what a run with a budget has spent, and who waits for a part of it. The twin of lua/includes/purse.lua.

A token that is about to call a model asks for what the call can take at most. It is parked, at the end of a row, and
the end of the transition lets in whoever comes first, as long as what is spent, reserved and asked for is within the
limits: its word ``wants=`` becomes ``paid=``, a reservation that it holds until its next transition says what was
spent. Where the budget has not so much even if nothing were reserved, it is refused by policy, or waits until somebody
raises it. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

from ...compiler.ir import Ir, budget_of, currency_of, workflow_budget_of
from ...compiler.workflow import Budget, OnExhausted
from ..spending.spent import Spent
from .scopes import Scope

At = tuple[int, Scope]

WANTS, PAID = "wants=", "paid="
BROKE = "broke"
"""The word of a token that was refused."""


class Amount(NamedTuple):
    """``cost`` in billionths of the budget's currency. ``deliveries``: of the token when it asked."""

    tokens: int
    cost: int
    deliveries: int = 0


class Fund(NamedTuple):
    """What the runs of a workflow may spend together, by the limits of one of them. ``name``: of the account."""

    name: str
    tokens: int | None
    cost: int | None
    refuses: bool


@dataclass(slots=True, eq=False)
class Purse:
    """``tokens``, ``cost``: the limits, None: without. ``waiting``: in order, a set. ``fund``: of all runs, if any."""

    tokens: int | None
    cost: int | None
    refuses: bool = True
    spent_tokens: int = 0
    spent_cost: int = 0
    waiting: dict[At, None] = field(default_factory=lambda: {})
    fund: Fund | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Purse) and self._known() == other._known()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def _known(self) -> tuple[object, ...]:
        return self.tokens, self.cost, self.refuses, self.spent_tokens, self.spent_cost, [*self.waiting], self.fund

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
        self.tokens = _more(self.tokens, tokens)
        self.cost = _more(self.cost, cost)
        if self.fund is not None:
            fund = self.fund
            self.fund = fund._replace(tokens=_more(fund.tokens, tokens), cost=_more(fund.cost, cost))


def purse_of(ir: Ir) -> Purse | None:
    """The full purse of a new run; None where it may spend without limit."""
    budget, all_runs = budget_of(ir), workflow_budget_of(ir)
    if budget is None and all_runs is None:
        return None
    own = budget or Budget()
    purse = Purse(own.tokens, own.cost, own.on_exhausted is OnExhausted.FAIL)
    if all_runs is not None:
        refuses = all_runs.on_exhausted is OnExhausted.FAIL
        purse.fund = Fund(fund_name(ir), all_runs.tokens, all_runs.cost, refuses)
    return purse


def fund_name(ir: Ir) -> str:
    """Return the name of the account of a workflow's runs: 16 bytes as hex."""
    return hashlib.blake2b(f"{ir.workflow}|{currency_of(ir)}".encode(), digest_size=16).hexdigest()


def _more(limit: int | None, amount: int) -> int | None:
    return None if limit is None else limit + amount


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
    return spent.tokens, spent.cost if spent.currency and spent.currency == currency_of(ir) else 0


def _amount(extra: str, head: str) -> Amount | None:
    for word in extra.split("+"):
        if word.startswith(head):
            return Amount(*map(int, word[len(head) :].split(".")))
    return None
