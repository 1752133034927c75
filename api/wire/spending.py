"""What calls of models have taken, as it travels."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType

from ...sdk.spending.spent import BILLIONTHS, Spent

CURRENCY = "USD"
"""Of a cost of nothing."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Null where no call has a price, or where there are several currencies."""

    amount: int | float | None
    currency: str | None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """``unpriced_calls``: whose cost nobody knows.

    ``unknown_calls``: that told no usage, or were lost; they count with what they could have taken at most.
    ``costs``: only where there are several currencies.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    total_tokens: int
    calls: int
    unpriced_calls: int
    unknown_calls: int
    costs: list[Cost] | UnsetType = UNSET


def usage_of(parts: Sequence[Spent]) -> Usage:
    """parts: of attempts, or of a run by currency, as the stores give them."""
    given, taken = sum(part.input_tokens for part in parts), sum(part.output_tokens for part in parts)
    sums = cost_sums(parts)
    return Usage(
        input_tokens=given,
        output_tokens=taken,
        cached_tokens=sum(part.cached_tokens for part in parts),
        total_tokens=given + taken,
        calls=sum(part.calls for part in parts),
        unpriced_calls=sum(part.unpriced for part in parts),
        unknown_calls=sum(part.unknown for part in parts),
        costs=[_cost(cost, currency) for currency, cost in sorted(sums.items())] if len(sums) > 1 else UNSET,
    )


def cost_of(parts: Sequence[Spent]) -> Cost:
    """Return the cost of all calls that have a price."""
    sums = cost_sums(parts)
    if len(sums) == 1:
        ((currency, cost),) = sums.items()
        return _cost(cost, currency)
    if sums or any(part.unpriced for part in parts):
        return Cost(amount=None, currency=None)
    return _cost(0, CURRENCY)


def models_of(parts: Sequence[Spent]) -> list[str]:
    """Return the models that were called, or whose they are."""
    return list(dict.fromkeys(part.model or part.provider for part in parts if part.calls))


def cost_sums(parts: Sequence[Spent]) -> dict[str, int]:
    """Return costs by currency, in billionths."""
    sums: dict[str, int] = {}
    for part in parts:
        if part.currency:
            sums[part.currency] = sums.get(part.currency, 0) + part.cost
    return sums


def _cost(billionths: int, currency: str) -> Cost:
    whole, rest = divmod(billionths, BILLIONTHS)
    return Cost(amount=float(Decimal(billionths) / BILLIONTHS) if rest else whole, currency=currency)
