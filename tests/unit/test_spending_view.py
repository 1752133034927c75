"""What people are told of tokens and money."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from courante.api.reading.steps import step_views
from courante.api.wire.spending import cost_of, models_of, usage_of
from courante.cli.views.run import utc_now
from courante.cli.views.spending import cost_text, money_text, spending_text
from courante.cli.views.steps import step_line
from courante.sdk.spending.spent import Spent
from courante.sdk.stores.runs import RunRow, StepRow
from courante.sdk.stores.status import RunStatus, StepStatus

CALL = Spent(
    provider="openai", model="m", calls=1, input_tokens=1000, output_tokens=234, cost=12_300_000, currency="USD"
)
FREE = Spent(provider="openai", model="own", calls=2, input_tokens=5, unpriced=2)
EUROS = Spent(provider="openai", model="m", calls=1, cost=500_000_000, currency="EUR", unknown=1)
RUN = RunRow(
    run_id="run_a", env="e", partition=0, workflow="w", version=1, ir_hash="", status=RunStatus.COMPLETED,
    trigger="initial", base_run_id=None, by=None, tags=(), output_seq=None, error=None, drain_reason=None,
    is_halted=False, created_at=utc_now(), started_at=None, finished_at=None,
)  # fmt: skip


def usage_json(parts: Sequence[Spent]) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(usage_of(parts))
    return found


def cost_json(parts: Sequence[Spent]) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(cost_of(parts))
    return found


def cost(parts: Sequence[Spent]) -> str:
    return cost_text(usage_of(parts), cost_of(parts))


def spending(parts: Sequence[Spent]) -> str:
    return spending_text(usage_of(parts), cost_of(parts))


def test_nothing_was_called() -> None:
    """Then it cost nothing, and there is nothing to say."""
    assert cost_json([]) == {"amount": 0, "currency": "USD"}
    assert (usage_json([])["total_tokens"], cost([]), spending([])) == (0, "", "")


def test_what_was_called_adds_up() -> None:
    """Also where several parts are in one currency, as attempts are."""
    assert usage_json([CALL, CALL, FREE]) == {
        "input_tokens": 2005,
        "output_tokens": 468,
        "cached_tokens": 0,
        "total_tokens": 2473,
        "calls": 4,
        "unpriced_calls": 2,
        "unknown_calls": 0,
    }
    assert cost_json([CALL, CALL]) == {"amount": 0.0246, "currency": "USD"}
    assert spending([CALL, CALL]) == "2,468 tokens, 0.0246 USD"
    assert models_of([CALL, FREE, CALL]) == ["m", "own"]


def test_without_a_price_there_is_no_cost_and_it_is_said() -> None:
    """What has a price is summed up all the same, and the calls beside it are counted."""
    assert cost_json([FREE]) == {"amount": None, "currency": None}
    assert spending([FREE]) == "5 tokens, no price"
    assert cost_json([CALL, FREE]) == {"amount": 0.0123, "currency": "USD"}
    assert usage_json([CALL, FREE])["unpriced_calls"] == 2
    assert cost([CALL, FREE]) == "0.0123 USD and 2 calls without a price"


def test_currencies_are_not_added_up() -> None:
    """Each stands for itself."""
    assert cost_json([CALL, EUROS]) == {"amount": None, "currency": None}
    assert usage_json([CALL, EUROS])["costs"] == [
        {"amount": 0.5, "currency": "EUR"},
        {"amount": 0.0123, "currency": "USD"},
    ]
    assert cost([CALL, EUROS]) == "0.50 EUR and 0.0123 USD"


def test_calls_of_unknown_usage_are_told() -> None:
    assert spending([EUROS]) == "0 tokens, 0.50 EUR, 1 call of unknown usage, counted with the most"
    assert usage_json([EUROS])["unknown_calls"] == 1


def test_a_step_tells_what_all_its_tries_have_taken() -> None:
    """Behind what else there is to say; a step without calls says nothing of it."""
    row = StepRow(
        node="ask", scope="", attempt=2, status=StepStatus.SUCCEEDED, reason=None, worker="w", started_at=None,
        finished_at=None, due_at=None, ms=5, error=None, output_seq=3,
    )  # fmt: skip
    plain, telling = (step_views(RUN, None, [row], spent=spent)[0] for spent in ({}, {("ask", ""): [CALL, CALL]}))
    assert "attempt 2, m: 2,468 tokens, 0.0246 USD" in step_line(telling.to_wire(), utc_now(), width=120, label_width=5)
    assert "token" not in step_line(plain.to_wire(), utc_now(), width=120, label_width=5)
    told = msgspec.to_builtins(telling.to_wire())
    assert (told["provider"], told["model"], told["cost"]) == ("openai", "m", {"amount": 0.0246, "currency": "USD"})
    assert "usage" not in msgspec.to_builtins(plain.to_wire())


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0.00"),
        (1e-9, "<0.000001"),
        (0.000001, "0.000001"),
        (0.0123, "0.0123"),
        (0.5, "0.50"),
        (1_234.567, "1,234.57"),
    ],
)
def test_a_cost_is_never_shown_as_nothing(amount: float, text: str) -> None:
    assert money_text(amount) == text
