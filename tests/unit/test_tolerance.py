"""How many items of a map may fail."""

from __future__ import annotations

import pytest

from courante.compiler.maps import tolerated


@pytest.mark.parametrize(
    ("share", "count", "allowed"),
    [("5%", 19, 0), ("5%", 20, 1), ("18.4%", 375, 69), ("0.000001%", 100_000, 0), ("100%", 7, 7), ("0%", 7, 0)],
)
def test_a_share_allows_as_many_whole_items_as_fit_into_it(share: str, count: int, allowed: int) -> None:
    """Counted exactly: 18.4 % of 375 are 69, whatever floating point makes of it."""
    assert tolerated({"tolerate": share}, count) == allowed


def test_the_other_policies() -> None:
    """A number is itself, and of the words only one tolerates anything."""
    assert tolerated({"tolerate": 3}, 100) == 3
    assert [tolerated(policy, 100) for policy in ("all", "fail_fast", "collect")] == [0, 0, 100]
