"""What calls of models have taken: the tokens and the money of an attempt, a step or a run. Pure.

It stands in the facts of the event that ends an attempt, as ``data.spent`` (docs/reference/events.md). Money is counted
in billionths of its currency, as whole numbers, so that sums are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

BILLIONTHS = 1_000_000_000
"""Units of ``cost`` that are one of the currency."""
SPENT = "spent"
"""The field of ``data`` that tells it."""
COUNTS = ("calls", "input_tokens", "output_tokens", "cached_tokens", "cost", "unpriced", "unknown")
COUNT_MAX = 2**50
WORD_MAX = 200
"""Characters of a name that are kept."""


class Spent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``calls`` calls have taken. Token counts and ``cost`` are sums, at least 0.

    ``provider``, ``model``: of the calls, of the last one where they differ. ``cached_tokens``: of the input tokens,
    those that the provider had cached. ``cost``: in billionths of ``currency``, of the calls that have a price.
    ``unpriced``: calls of models without a price. ``unknown``: calls that were lost before they told their usage: their
    tokens and cost are what they could have taken at most.
    """

    provider: str = ""
    model: str = ""
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: int = 0
    currency: str = ""
    unpriced: int = 0
    unknown: int = 0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def plus(self, other: Spent) -> Spent:
        """Return the sum. Raises ValueError where both have a cost, in two currencies."""
        if self.cost and other.cost and self.currency != other.currency:
            raise ValueError(f"{self.currency} and {other.currency} cannot be added")
        return Spent(
            provider=other.provider or self.provider,
            model=other.model or self.model,
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cost=self.cost + other.cost,
            currency=(other.currency if other.cost else self.currency) or other.currency,
            unpriced=self.unpriced + other.unpriced,
            unknown=self.unknown + other.unknown,
        )


NOTHING = Spent()


def total(parts: Iterable[Spent]) -> Spent:
    """Return the sum of all, NOTHING of none. Raises ValueError for two currencies."""
    whole = NOTHING
    for part in parts:
        whole = whole.plus(part)
    return whole


def as_data(spent: Spent) -> dict[str, object]:
    """Return what the facts of an event say of it: nothing where no call was made."""
    return {SPENT: msgspec.to_builtins(spent)} if spent.calls else {}


def told_spent(data: Mapping[str, object]) -> Spent:
    """Return what the facts of an event tell. Raises msgspec.ValidationError where that is nothing readable."""
    return msgspec.convert(data[SPENT], Spent) if SPENT in data else NOTHING


def kept_spent(data: Mapping[str, object]) -> Spent:
    """Return what the facts of an event tell, as it is kept. NOTHING where that is nothing that can be: nobody's."""
    try:
        spent = told_spent(data)
    except msgspec.ValidationError:
        return NOTHING
    if not all(0 <= getattr(spent, name) <= COUNT_MAX for name in COUNTS):
        return NOTHING
    words = {name: _word(getattr(spent, name)) for name in ("provider", "model", "currency")}
    return msgspec.structs.replace(spent, **words)


def _word(text: str) -> str:
    """Text of Postgres holds no U+0000."""
    return text[:WORD_MAX].replace("\0", "\ufffd")
