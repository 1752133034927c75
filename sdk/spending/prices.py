"""Prices: what a call costs, by provider, model, day and the length of its input.

A price list is a JSON file, a list of entries (docs/reference/prices.md). The shipped one is ``prices.json`` beside
this module; entries of a file of the operator's go before all of its entries. Only ``load_prices`` reads a file; a
table never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from .spent import BILLIONTHS, Spent
from .usage import Usage

SHIPPED = Path(__file__).with_name("prices.json")
_MILLION = 1_000_000
_Amount = Annotated[Decimal, Meta(description="a number, at least 0")]
_MAX = Decimal(1_000_000)


class PricesError(ValueError):
    """A price list that cannot be used. ``path``: the file; the text says where in it and why."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What tokens of ``models`` cost, in ``currency`` per million, from a day on (UTC).

    ``models``: names; one with ``*`` at its end stands for all that begin so. ``cached``: of input tokens that were
    cached, ``written``: of those that are cached by the call; left out: as the others. ``over``: for calls with more
    input tokens than that.
    """

    provider: str
    models: Annotated[tuple[str, ...], Meta(min_length=1)]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z", description="three capitals")]
    input: _Amount
    output: _Amount
    cached: _Amount | None = None
    written: _Amount | None = None
    valid_from: date
    over: Annotated[int, Meta(ge=0)] = 0

    def fits(self, model: str) -> int:
        """Return how closely an entry is about a model: 0 not at all, more than any beginning for its very name."""
        fit = 0
        for name in self.models:
            if name == model:
                return len(model) + 2
            if name.endswith("*") and model.startswith(name[:-1]):
                fit = max(fit, len(name))
        return fit

    def cost(self, usage: Usage) -> int:
        """Return billionths of the currency, rounded up."""
        cached = min(usage.cached_tokens, usage.input_tokens)
        written = min(usage.written_tokens, usage.input_tokens - cached)
        per_cached = self.input if self.cached is None else self.cached
        per_written = self.input if self.written is None else self.written
        million_fold = (
            (usage.input_tokens - cached - written) * self.input
            + cached * per_cached
            + written * per_written
            + usage.output_tokens * self.output
        )
        whole, rest = divmod(million_fold * BILLIONTHS, _MILLION)
        return int(whole) + (1 if rest else 0)


class PriceTable:
    """Entries by rank: all of one list go before all of the next. They have one currency: that of the first list.

    Entries in another currency are left out, so that what an attempt and a run spend can be added up.
    """

    def __init__(self, lists: Sequence[Sequence[Price]]) -> None:
        self.currency = next((price.currency for prices in lists for price in prices), "")
        self._lists = [[price for price in prices if price.currency == self.currency] for prices in lists]
        self._known: dict[tuple[str, str], list[Price]] = {}

    def spent(self, provider: str, model: str, usage: Usage, at_ms: int) -> Spent:
        """Return what one call has taken. Without a price its cost is 0 and ``unpriced`` 1. at_ms: when it was made."""
        price = self._price(provider, model, usage.input_tokens, at_ms)
        return Spent(
            provider=provider,
            model=model,
            calls=1,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            cost=0 if price is None else price.cost(usage),
            currency="" if price is None else price.currency,
            unpriced=1 if price is None else 0,
        )

    def most(self, provider: str, model: str, input_tokens: int, max_tokens: int, at_ms: int) -> Spent:
        """Return what one call can take at most. input_tokens, max_tokens: bounds of its input and its output."""
        usages = (
            Usage(input_tokens=input_tokens, output_tokens=max_tokens, written_tokens=written)
            for written in (0, input_tokens)
        )
        return max((self.spent(provider, model, usage, at_ms) for usage in usages), key=lambda spent: spent.cost)

    def _price(self, provider: str, model: str, input_tokens: int, at_ms: int) -> Price | None:
        day = datetime.fromtimestamp(at_ms / 1000, UTC).date()
        for price in self._ranked(provider, model):
            if price.valid_from <= day and (not price.over or input_tokens > price.over):
                return price
        return None

    def _ranked(self, provider: str, model: str) -> list[Price]:
        """Of each list the entries about a model: closest first, newest first, those for the longest inputs first."""
        key = (provider, model)
        known = self._known.get(key)
        if known is None:
            known = list[Price]()
            for prices in self._lists:
                fitting = [price for price in prices if price.provider == provider and price.fits(model)]
                known += sorted(fitting, key=lambda one: (one.fits(model), one.valid_from, one.over), reverse=True)
            if len(self._known) > 10_000:  # names of models are data of runs
                self._known.clear()
            self._known[key] = known
        return known


def load_prices(path: Path | None) -> PriceTable:
    """Return the shipped prices, behind those of a file where one is given. Raises PricesError."""
    return _shipped_table() if path is None else PriceTable([_read(path), _shipped()])


@cache
def _shipped_table() -> PriceTable:
    return PriceTable([_shipped()])


@cache
def _shipped() -> tuple[Price, ...]:
    return _read(SHIPPED)


def _read(path: Path) -> tuple[Price, ...]:
    try:
        prices = msgspec.json.decode(path.read_bytes(), type=tuple[Price, ...])
    except OSError as cause:
        raise PricesError(path, f"the file cannot be read: {cause.strerror}") from cause
    except (msgspec.MsgspecError, UnicodeDecodeError) as cause:
        raise PricesError(path, str(cause)) from cause
    for number, price in enumerate(prices):
        amounts = (price.input, price.output, price.cached or Decimal(0), price.written or Decimal(0))
        if not all(amount.is_finite() and 0 <= amount <= _MAX for amount in amounts):
            raise PricesError(path, f"a price is a number from 0 to {_MAX} - at `$[{number}]`")
    return prices
