"""Spending as people see it: tokens, and money or why there is none. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ..sdk.spending.spent import BILLIONTHS, Spent
from .texts import count_text

CURRENCY = "USD"
"""Of a cost of nothing."""
DIGITS_MAX = 6


def usage_json(parts: Sequence[Spent]) -> dict[str, object]:
    """``parts``: of attempts, or of a run by currency, as the stores give them.

    ``unpriced_calls``: whose cost nobody knows. ``unknown_calls``: that were lost; they count with what they could have
    taken at most. ``costs``: only where there are several currencies.
    """
    names = ("input_tokens", "output_tokens", "cached_tokens")
    counts = {name: sum(getattr(part, name) for part in parts) for name in names}
    told: dict[str, object] = {
        **counts,
        "total_tokens": counts["input_tokens"] + counts["output_tokens"],
        "calls": sum(part.calls for part in parts),
        "unpriced_calls": sum(part.unpriced for part in parts),
        "unknown_calls": sum(part.unknown for part in parts),
    }
    sums = _sums(parts)
    if len(sums) > 1:
        told["costs"] = [_cost(cost, currency) for currency, cost in sorted(sums.items())]
    return told


def cost_json(parts: Sequence[Spent]) -> dict[str, object]:
    """Return the cost of all calls that have a price; null where none has, or where there are several currencies."""
    sums = _sums(parts)
    if len(sums) == 1:
        ((currency, cost),) = sums.items()
        return _cost(cost, currency)
    if sums or any(part.unpriced for part in parts):
        return {"amount": None, "currency": None}
    return _cost(0, CURRENCY)


def cost_text(parts: Sequence[Spent]) -> str:
    """``0.0123 USD``, ``no price``, ``0.0123 USD and 2 calls without a price``; nothing where nothing was called."""
    if not any(part.calls for part in parts):
        return ""
    sums = [f"{money_text(cost)} {currency}" for currency, cost in _sums(parts).items()]
    unpriced = sum(part.unpriced for part in parts)
    if unpriced:
        sums.append(f"{count_text(unpriced, 'call')} without a price" if sums else "no price")
    return " and ".join(sums)


def spending_text(parts: Sequence[Spent]) -> str:
    """``1,234 tokens, 0.0123 USD``, and how many calls were lost; nothing where nothing was called."""
    if not any(part.calls for part in parts):
        return ""
    words = [count_text(sum(part.tokens for part in parts), "token"), cost_text(parts)]
    unknown = sum(part.unknown for part in parts)
    if unknown:
        words.append(f"{count_text(unknown, 'call')} lost, counted with the most")
    return ", ".join(words)


def models_text(parts: Sequence[Spent]) -> str:
    """The models that were called, those of the last calls."""
    return ", ".join(dict.fromkeys(part.model or part.provider for part in parts if part.calls))


def money_text(billionths: int) -> str:
    """``1.50``, ``0.0123``: two decimals, or as many as show four digits that count, six at most; no cost is 0."""
    amount = Decimal(billionths) / BILLIONTHS
    if amount == 0 or amount >= 1:
        return f"{amount:,.2f}"
    text = f"{amount:.{DIGITS_MAX}f}"
    if not text.strip("0."):
        return f"<{Decimal(1).scaleb(-DIGITS_MAX):f}"
    whole, decimals = text.split(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def _sums(parts: Sequence[Spent]) -> dict[str, int]:
    """Costs by currency."""
    sums: dict[str, int] = {}
    for part in parts:
        if part.currency:
            sums[part.currency] = sums.get(part.currency, 0) + part.cost
    return sums


def _cost(billionths: int, currency: str) -> dict[str, object]:
    whole, rest = divmod(billionths, BILLIONTHS)
    return {"amount": float(Decimal(billionths) / BILLIONTHS) if rest else whole, "currency": currency}
