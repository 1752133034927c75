"""What a run with a budget says of it: amounts, words of tokens, and the record in Redis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.compiler.budgets import COST_MAX, billionths
from courante.compiler.ir import budget_of
from courante.sdk.floor.live_marking import PurseRecord, RunHead
from courante.sdk.marking.purse import Amount, Purse, granted, paid, refused, wanted, wants, without_purse
from model.compiled import plan_of

NODE = {"id": "a", "type": "noop"}
COUNTS = st.integers(0, 2**50)
LIMITS = st.none() | COUNTS


@pytest.mark.parametrize(
    ("amount", "exact"), [(0, 0), (1.5, 1_500_000_000), ("0.000000001", 1), (0.1, 100_000_000), (COST_MAX, 10**15)]
)
def test_amounts_are_exact(amount: float | str, exact: int) -> None:
    assert billionths(amount) == exact


@pytest.mark.parametrize("amount", ["", "much", "NaN", "inf", -0.1, COST_MAX + 1])
def test_what_is_no_amount_is_refused(amount: float | str) -> None:
    with pytest.raises(ValueError, match="amount"):
        billionths(amount)


def test_a_workflow_without_a_budget_has_the_ir_that_it_had() -> None:
    """Not a byte of it speaks of budgets, and its runs begin with no word of one."""
    plain = plan_of({"courante": 1, "id": "w", "nodes": [NODE]})
    bounded = plan_of({"courante": 1, "id": "w", "nodes": [NODE], "policy": {"budget": {"cost": 0.25}}})
    assert budget_of(plain.ir) is None
    assert "B" not in plain.start_words
    budget = budget_of(bounded.ir)
    assert budget is not None
    assert (budget.tokens, budget.cost, budget.currency) == (None, 250_000_000, "USD")
    assert bounded.bound() == ("B", "", "250000000", "f")


@given(COUNTS, COUNTS, st.integers(0, 9), st.sampled_from(["", "ok", "ok+held+slot=ab"]))
def test_a_token_has_one_word_at_a_time(tokens: int, cost: int, deliveries: int, before: str) -> None:
    """What it wants, what is reserved for it, or that it was refused; the other words stay."""
    asked = Amount(tokens, cost, deliveries)
    extra = f"{before}+{wants(asked)}" if before else wants(asked)
    assert (wanted(extra), paid(extra)) == (asked, None)
    assert (wanted(granted(extra)), paid(granted(extra))) == (None, asked)
    assert (wanted(refused(extra)), paid(refused(extra))) == (None, None)
    assert {without_purse(each) for each in (extra, granted(extra), refused(extra))} == {before}


@given(LIMITS, LIMITS, st.booleans(), st.lists(COUNTS, min_size=7, max_size=7))
def test_the_record_reads_as_it_was_written(
    tokens: int | None, cost: int | None, refuses: bool, counts: list[int]
) -> None:
    spent_tokens, spent_cost, held, held_tokens, held_cost, first, last = counts
    record = PurseRecord(tokens, cost, refuses, spent_tokens, spent_cost, held, held_tokens, held_cost, first, last)
    assert PurseRecord.read(record.write()) == record


@pytest.mark.parametrize("head", ["R|1|2|0|3$|ab", "R|1|2|0|3+!$*4,1,1,0|ab", "P|1|2|0|0|ab", "R|1|2|0|3!|ab"])
def test_the_head_says_that_there_is_a_budget(head: str) -> None:
    read = RunHead.read(head)
    assert (read.has_purse, read.write()) == ("$" in head, head)


def test_limits_that_are_not_there_bound_nothing() -> None:
    """And are not raised into being."""
    purse = Purse(tokens=10, cost=None)
    assert purse.fits(Amount(4, 10**12), Amount(6, 10**12))
    assert not purse.fits(Amount(5, 0), Amount(6, 0))
    purse.enlarge(1, 5)
    assert (purse.tokens, purse.cost) == (11, None)
    purse.spend(11, 0)
    assert not purse.fits(Amount(1, 0), Amount(0, 0))
    assert purse.spent_tokens == 11
