"""Budgets: the field ``budget`` of a policy, which bounds what the calls of models of a run may take."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from .diagnostics import Path
from .findings import Findings
from .reading import read_choice, read_fields, read_integer
from .workflow import Budget, Json, OnExhausted

BUDGET_TOKENS_MAX = 10**12
COST_MAX = 10**6
"""In the currency."""
CURRENCY_PATTERN = "^[A-Z]{3}$"
DEFAULT_CURRENCY = "USD"
_BILLIONTHS = 10**9


def read_budget(value: Json, path: Path, findings: Findings) -> Budget | None:
    """None where it cannot be read."""
    fields = read_fields(value, path, findings, _READERS)
    tokens, cost = fields.get("tokens"), fields.get("cost")
    if tokens is None and cost is None:
        if isinstance(value, dict) and not {"tokens", "cost"} & value.keys():
            findings.error("missing_field", "a budget says how many tokens or how much money: tokens or cost", path)
        return None
    currency = fields.get("currency", DEFAULT_CURRENCY) if cost is not None else ""
    on_exhausted = OnExhausted(fields.get("on_exhausted", OnExhausted.FAIL))
    return Budget(tokens=tokens, cost=cost, currency=currency, on_exhausted=on_exhausted)


def check_currencies(budget: Budget | None, all_runs: Budget | None, path: Path, findings: Findings) -> None:
    """What a call costs is taken from both."""
    if budget and all_runs and budget.currency and all_runs.currency and budget.currency != all_runs.currency:
        told = f"the budgets of a run and of the workflow are in {budget.currency} and in {all_runs.currency}"
        findings.error("conflicting_fields", told, (*path, "workflow_budget", "currency"), "use one currency")


def write_budget(budget: Budget) -> dict[str, Json]:
    """The inverse, for documents."""
    written: dict[str, Json] = {}
    if budget.cost is not None:
        whole, rest = divmod(budget.cost, _BILLIONTHS)
        written["cost"] = float(Decimal(budget.cost) / _BILLIONTHS) if rest else whole
        written["currency"] = budget.currency
    if budget.tokens is not None:
        written["tokens"] = budget.tokens
    if budget.on_exhausted is not OnExhausted.FAIL:
        written["on_exhausted"] = budget.on_exhausted.value
    return written


def billionths(amount: float | str | Decimal) -> int:
    """Return an amount of money in billionths, rounded down. Raises ValueError for what is no amount that may be."""
    try:
        exact = Decimal(str(amount))
    except InvalidOperation as error:
        raise ValueError(f"{amount!r} is no amount") from error
    if not exact.is_finite() or not 0 <= exact <= COST_MAX:
        raise ValueError(f"an amount is a number from 0 to {COST_MAX}")
    return int(exact * _BILLIONTHS)


def _tokens(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=0, high=BUDGET_TOKENS_MAX)


def _cost(value: Json, path: Path, findings: Findings) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        findings.error("wrong_type", "expected a number", path)
        return None
    try:
        return billionths(value)
    except ValueError as error:
        findings.error("out_of_range", str(error), path)
        return None


def _currency(value: Json, path: Path, findings: Findings) -> str:
    if not isinstance(value, str) or len(value) != 3 or not value.isascii() or not value.isupper():
        findings.error("unknown_value", "a currency is three capitals, as USD", path)
        return DEFAULT_CURRENCY
    return value


def _on_exhausted(value: Json, path: Path, findings: Findings) -> str:
    return read_choice(value, path, findings, [word.value for word in OnExhausted], OnExhausted.FAIL.value)


_READERS = {"tokens": _tokens, "cost": _cost, "currency": _currency, "on_exhausted": _on_exhausted}
