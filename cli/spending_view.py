"""Spending as people see it: tokens, and money or why there is none. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from ..api.wire.spending import cost_of, cost_sums, usage_of
from ..sdk.spending.spent import BILLIONTHS, Spent
from .texts import count_text

DIGITS_MAX = 6


def usage_json(parts: Sequence[Spent]) -> dict[str, object]:
    """As ``usage_of``."""
    found: dict[str, object] = msgspec.to_builtins(usage_of(parts))
    return found


def cost_json(parts: Sequence[Spent]) -> dict[str, object]:
    """As ``cost_of``."""
    found: dict[str, object] = msgspec.to_builtins(cost_of(parts))
    return found


def cost_text(parts: Sequence[Spent]) -> str:
    """``0.0123 USD``, ``no price``, ``0.0123 USD and 2 calls without a price``; nothing where nothing was called."""
    if not any(part.calls for part in parts):
        return ""
    sums = [f"{money_text(cost)} {currency}" for currency, cost in cost_sums(parts).items()]
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
