"""What calls of models cost, and which entry of a price list says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.spending.prices import PricesError, load_prices
from courante.sdk.spending.spent import BILLIONTHS
from courante.sdk.spending.usage import Usage

ENTRY: dict[str, Any] = {
    "provider": "openai",
    "models": ["m"],
    "currency": "USD",
    "input": 1,
    "output": 2,
    "valid_from": "2024-01-01",
}
MILLION = Usage(input_tokens=1_000_000)


def at(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)


NOW = at("2026-11-20")


def written(tmp_path: Path, *entries: dict[str, Any]) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps([{**ENTRY, **entry} for entry in entries]))
    return path


def cost(path: Path | None, model: str, usage: Usage = MILLION, at_ms: int = NOW, provider: str = "openai") -> Decimal:
    """In whole units of the currency."""
    return Decimal(load_prices(path).spent(provider, model, usage, at_ms).cost) / BILLIONTHS


def test_a_call_costs_its_tokens_by_their_kinds() -> None:
    """Cached input tokens are among the input tokens, and cheaper."""
    usage = Usage(input_tokens=1000, output_tokens=100, cached_tokens=400)
    spent = load_prices(None).spent("openai", "gpt-4o", usage, NOW)
    assert spent.cost == 600 * 2500 + 400 * 1250 + 100 * 10_000
    assert (spent.currency, spent.calls, spent.unpriced, spent.unknown) == ("USD", 1, 0, 0)
    assert (spent.provider, spent.model, spent.tokens, spent.cached_tokens) == ("openai", "gpt-4o", 1100, 400)


def test_what_a_call_writes_into_a_cache_has_its_price() -> None:
    """Those tokens are among the input tokens, and dearer; without a price of their own they cost as the others."""
    usage = Usage(input_tokens=1000, cached_tokens=400, written_tokens=500)
    assert cost(None, "gpt-6-sol", usage) * 1_000_000 == 100 * 2 + 400 * Decimal("0.2") + 500 * Decimal("2.5")
    assert cost(None, "gpt-4o", usage) * 1_000_000 == 600 * Decimal("2.5") + 400 * Decimal("1.25")
    more = Usage(input_tokens=10, cached_tokens=8, written_tokens=8)
    assert cost(None, "gpt-6-sol", more) * 1_000_000 == 8 * Decimal("0.2") + 2 * Decimal("2.5")


def test_the_most_that_a_call_can_take_is_all_of_it_written() -> None:
    """So a budget is not overspent by a cache."""
    table = load_prices(None)
    for written in (0, 1000):
        usage = Usage(input_tokens=1000, output_tokens=10, written_tokens=written)
        for model in ("gpt-6-sol", "gpt-4o", "unknown"):
            spent = table.spent("openai", model, usage, NOW)
            most = table.most("openai", model, 1000, 10, NOW)
            assert (most.cost >= spent.cost, most.tokens) == (True, spent.tokens)


@pytest.mark.parametrize(
    ("provider", "model", "price"),
    [
        ("openai", "gpt-4o-mini", "0.15"),
        ("openai", "gpt-4o-mini-2024-07-18", "0.15"),
        ("openai", "gpt-4o-2024-05-13", "5"),
        ("openai", "gpt-4o-2024-11-20", "2.5"),
        ("anthropic", "claude-3-5-sonnet-20241022", "3"),
        ("anthropic", "claude-opus-5-5", "4"),
        ("anthropic", "claude-opus-5", "5"),
        ("anthropic", "claude-fable-5-2", "8"),
        ("openai", "gpt-6.1-terra", "1"),
        ("echo", "whatever", "1"),
    ],
)
def test_shipped_prices_know_models_and_their_dated_names(provider: str, model: str, price: str) -> None:
    assert cost(None, model, Usage(input_tokens=10_000), provider=provider) * 100 == Decimal(price)


def test_a_model_without_a_price_is_unpriced() -> None:
    """Its tokens are counted, and it costs nothing that anybody knows."""
    for provider, model in (("openai", "gpt-4o-audio-preview"), ("anthropic", "gpt-4o"), ("openai", "")):
        spent = load_prices(None).spent(provider, model, Usage(input_tokens=5, output_tokens=7), NOW)
        assert (spent.cost, spent.currency, spent.unpriced, spent.tokens) == (0, "", 1, 12)


def test_a_price_counts_from_its_day_on(tmp_path: Path) -> None:
    """The newest one that is valid, by days in UTC."""
    path = written(
        tmp_path, {"input": 1}, {"input": 3, "valid_from": "2026-03-01"}, {"input": 2, "valid_from": "2026-02-01"}
    )
    assert cost(path, "m", at_ms=at("2026-01-31")) == 1
    assert cost(path, "m", at_ms=at("2026-02-01")) == 2
    assert cost(path, "m", at_ms=at("2026-03-01") - 1) == 2
    assert cost(path, "m", at_ms=at("2026-03-01")) == 3
    assert load_prices(path).spent("openai", "m", MILLION, at("2023-12-31")).unpriced == 1


def test_the_closest_entry_counts(tmp_path: Path) -> None:
    """The very name, then the longest beginning, wherever they stand."""
    path = written(
        tmp_path, {"models": ["ab*"], "input": 2}, {"models": ["*"], "input": 1}, {"models": ["x", "abc"], "input": 3}
    )
    assert [cost(path, model) for model in ("z", "abd", "abc", "abcd", "x")] == [1, 2, 3, 2, 3]


def test_entries_of_a_file_go_before_all_shipped_ones(tmp_path: Path) -> None:
    """Also one for all models before one for the very name; other models keep their price."""
    assert cost(written(tmp_path, {"models": ["gpt-4o"], "input": 9}), "gpt-4o") == 9
    assert cost(written(tmp_path, {"models": ["gpt-4o*"], "input": 8}), "gpt-4o") == 8
    assert cost(written(tmp_path, {"models": ["m"]}), "gpt-4o") == Decimal("2.5")
    later = written(tmp_path, {"models": ["gpt-4o"], "input": 9, "valid_from": "2030-01-01"})
    assert cost(later, "gpt-4o") == Decimal("2.5")


def test_a_file_in_another_currency_leaves_shipped_prices_out(tmp_path: Path) -> None:
    """What cannot be added up is not mixed."""
    table = load_prices(written(tmp_path, {"currency": "EUR"}))
    assert table.spent("openai", "m", MILLION, NOW).currency == "EUR"
    assert table.spent("openai", "gpt-4o", MILLION, NOW).unpriced == 1


def test_long_inputs_may_cost_more(tmp_path: Path) -> None:
    """``over`` is about all tokens of a call with more input than that."""
    path = written(tmp_path, {"input": 1}, {"input": 2, "over": 1000})
    assert cost(path, "m", Usage(input_tokens=1000)) * 1000 == 1
    assert cost(path, "m", Usage(input_tokens=1001)) * 1_000_000 == 2002


def test_costs_are_rounded_up(tmp_path: Path) -> None:
    """To a billionth: a token that costs anything is not for nothing."""
    path = written(tmp_path, {"input": 0.0000015})
    table = load_prices(path)
    assert table.spent("openai", "m", Usage(input_tokens=1), NOW).cost == 1
    assert table.spent("openai", "m", MILLION, NOW).cost == 1500


@given(
    st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**5), st.sampled_from(["gpt-4o", "gpt-6-sol", "?"])
)
def test_no_call_takes_more_than_the_most(bound: int, given_tokens: int, out: int, model: str) -> None:
    """Whatever of the input was cached, and however much shorter the call was."""
    table = load_prices(None)
    tokens = min(bound, given_tokens)
    most = table.most("openai", model, bound, out, NOW)
    for cached in {0, tokens}:
        usage = Usage(input_tokens=tokens, output_tokens=out // 2, cached_tokens=cached)
        spent = table.spent("openai", model, usage, NOW)
        assert spent.cost <= most.cost and spent.tokens <= most.tokens


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{}", "Expected `array`"),
        ("[", "truncated"),
        (json.dumps([{**ENTRY, "input": -1}]), "from 0 to"),
        (json.dumps([{**ENTRY, "input": "much"}]), "$[0].input"),
        (json.dumps([ENTRY, {**ENTRY, "curency": "USD"}]), "curency"),
        (json.dumps([{**ENTRY, "currency": "dollar"}]), "$[0].currency"),
        (json.dumps([{**ENTRY, "valid_from": "soon"}]), "$[0].valid_from"),
        (json.dumps([{**ENTRY, "models": []}]), "$[0].models"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_place(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(content)
    with pytest.raises(PricesError) as caught:
        load_prices(path)
    assert problem in str(caught.value) and str(path) in str(caught.value)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PricesError, match="cannot be read"):
        load_prices(tmp_path / "none.json")
