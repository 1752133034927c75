"""Budgets: what a node does before it calls a model, where its run has a budget.

    asked = ask_budget(work, tools.prices.most(...))
    if asked is not None:
        return asked

What a call can take at most is reserved first, in the transition by which the token asks: no race can spend it twice.
The token comes back when that is done, and its next transition, whatever that is, gives the reservation back and takes
what was spent. In a run without a budget nothing is asked, and nothing is different.
"""

from __future__ import annotations

from ..compiler.ir import Ir, budget_of, currency_of, workflow_budget_of
from ..sdk.marking.purse import BROKE, paid
from ..sdk.outcomes.outcomes import AsksBudget
from ..sdk.outcomes.step_context import StepError
from ..sdk.spending.spent import BILLIONTHS, NOTHING, Spent
from .work import Work

CALLERS = frozenset({"llm", "agent"})
"""Types of nodes that call models."""


def ask_budget(work: Work, most: Spent) -> AsksBudget | None:
    """Return what to come to instead of calling, None where the call may be made.

    most: what it can take at most. What the attempt has spent until now, lost calls too, is told with it: each further
    call of an attempt asks again. Raises StepError: BUDGET_EXHAUSTED; BUDGET_UNPRICED where nobody knows what it costs.
    """
    if not work.plan.has_purse:
        return None
    currency = currency_of(work.plan.ir)
    if BROKE in work.extra.split("+"):
        text = (
            f"the call may take {_shown(work.plan.ir, most)}: so much is not left (max_tokens bounds what it may take)"
        )
        raise StepError("BUDGET_EXHAUSTED", text)
    if currency and (most.unpriced or most.currency != currency):
        told = f"nobody knows what {most.model or 'the model'} of {most.provider} costs in {currency}"
        raise StepError("BUDGET_UNPRICED", f"{told}: a budget of money cannot be kept")
    cost = most.cost if currency else 0
    return None if _is_paid(work, most.tokens, cost) else AsksBudget(most.tokens, cost)


def _is_paid(work: Work, tokens: int, cost: int) -> bool:
    """Whether so much is reserved for a call that is still to be made."""
    reserved = paid(work.extra)
    if reserved is None or reserved.deliveries != work.deliveries or work.spent.calls:
        return False
    return reserved.tokens >= tokens and reserved.cost >= cost


def lost_calls(work: Work, told: int = 0) -> int:
    """Return how many calls may have been lost with workers that fell silent. told: deliveries that are told already.

    Where a budget is, only who has a reservation calls, and whoever comes after asks for another one.
    """
    if not work.plan.has_purse:
        return work.deliveries - told
    reserved = paid(work.extra)
    return int(reserved is not None and work.deliveries > max(reserved.deliveries, told))


def lost_spending(work: Work) -> Spent:
    """Return what to tell of calls that were lost, where no worker may try again: what was reserved for the last one.

    Without a budget only how many there were: the request, which says what they can have taken, was never made here.
    """
    if not work.plan.has_purse:
        lost = lost_calls(work) if work.node.type in CALLERS else 0
        return Spent(calls=lost, unpriced=lost, unknown=lost)
    reserved, currency = paid(work.extra), currency_of(work.plan.ir)
    if reserved is None or not lost_calls(work):
        return NOTHING
    return Spent(calls=1, output_tokens=reserved.tokens, cost=reserved.cost, currency=currency, unknown=1)


def _shown(ir: Ir, most: Spent) -> str:
    """What the limits are about, with the names of their fields."""
    budgets = {"budget": budget_of(ir), "workflow_budget": workflow_budget_of(ir)}
    said: list[str] = []
    if any(each is not None and each.tokens is not None for each in budgets.values()):
        said.append(f"{most.tokens:,} tokens")
    if any(each is not None and each.cost is not None for each in budgets.values()):
        said.append(f"{most.cost / BILLIONTHS:.6f} {most.currency}")
    return f"{' and '.join(said)} of the {' and '.join(name for name, each in budgets.items() if each is not None)}"
