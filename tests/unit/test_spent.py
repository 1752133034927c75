"""What calls of models have taken adds up, and travels in the facts of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.events import Facts, decode_facts, encode_facts
from courante.sdk.spending.spent import NOTHING, Spent, as_data, told_spent, total

COUNTS = st.integers(0, 10**12)
SPENT = st.builds(
    Spent,
    provider=st.sampled_from(["", "openai"]),
    model=st.sampled_from(["", "m"]),
    calls=st.integers(1, 1000),
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cached_tokens=COUNTS,
    cost=COUNTS,
    currency=st.just("USD"),
    unpriced=st.integers(0, 1000),
    unknown=st.integers(0, 1000),
)


@given(SPENT, SPENT, SPENT)
def test_sums_do_not_depend_on_how_they_are_grouped(a: Spent, b: Spent, c: Spent) -> None:
    assert a.plus(b).plus(c) == a.plus(b.plus(c)) == total([a, b, c])
    assert a.plus(NOTHING) == NOTHING.plus(a) == a


@given(SPENT)
def test_what_an_event_tells_is_what_was_spent(spent: Spent) -> None:
    facts = decode_facts(encode_facts(Facts(type="step.succeeded", data=as_data(spent))))
    assert told_spent(facts.data) == spent


def test_an_event_without_calls_says_nothing() -> None:
    assert as_data(NOTHING) == {}
    assert told_spent({}) == NOTHING


def test_two_currencies_have_no_sum() -> None:
    euros, dollars = Spent(calls=1, cost=1, currency="EUR"), Spent(calls=1, cost=1, currency="USD")
    with pytest.raises(ValueError, match="EUR and USD"):
        euros.plus(dollars)
    assert euros.plus(Spent(calls=1, unpriced=1, currency="")).currency == "EUR"
