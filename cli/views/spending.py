"""Spending as people see it: tokens, and money or why there is none. Pure."""

from __future__ import annotations

from decimal import Decimal

from ...api.wire.spending import Cost, Usage
from ..texts import count_text

DIGITS_MAX = 6


def cost_text(usage: Usage, cost: Cost) -> str:
    """``0.0123 USD``, ``no price``, ``0.0123 USD and 2 calls without a price``; nothing where nothing was called."""
    if not usage.calls:
        return ""
    costs = usage.costs or [cost]
    sums = [f"{money_text(one.amount)} {one.currency}" for one in costs if one.amount is not None]
    if usage.unpriced_calls:
        sums.append(f"{count_text(usage.unpriced_calls, 'call')} without a price" if sums else "no price")
    return " and ".join(sums)


def spending_text(usage: Usage, cost: Cost) -> str:
    """``1,234 tokens, 0.0123 USD``, and of how many calls nobody knows; nothing where nothing was called."""
    if not usage.calls:
        return ""
    words = [count_text(usage.total_tokens, "token"), cost_text(usage, cost)]
    if usage.unknown_calls:
        words.append(f"{count_text(usage.unknown_calls, 'call')} of unknown usage, counted with the most")
    return ", ".join(words)


def money_text(sum: float) -> str:
    """``1.50``, ``0.0123``: two decimals, or as many as show four digits that count, six at most; no cost is 0."""
    amount = Decimal(str(sum))
    if amount == 0 or amount >= 1:
        return f"{amount:,.2f}"
    text = f"{amount:.{DIGITS_MAX}f}"
    if not text.strip("0."):
        return f"<{Decimal(1).scaleb(-DIGITS_MAX):f}"
    whole, decimals = text.split(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
