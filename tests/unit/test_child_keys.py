"""The id of a child run is made of its step: the same step gives the same run, another one another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.ids import RUN_ID
from courante.sdk.stores.children import child_key, child_run_id

STEPS = st.tuples(
    st.from_regex(r"run_[0-9A-Z]{4}", fullmatch=True),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,5}", fullmatch=True),
    st.lists(st.integers(0, 12), max_size=3).map(lambda scope: ".".join(map(str, scope))),
    st.integers(1, 12),
)


@given(STEPS, STEPS)
def test_two_steps_have_one_child_run_only_where_they_are_the_same(
    one: tuple[str, str, str, int], other: tuple[str, str, str, int]
) -> None:
    """Ids of nodes, scopes and attempts do not run into each other."""
    assert (child_key(*one) == child_key(*other)) == (one == other)
    assert (child_run_id("env", *one) == child_run_id("env", *other)) == (one == other)
    assert child_run_id("env", *one) != child_run_id("elsewhere", *one)
    assert RUN_ID.fullmatch(child_run_id("env", *one))
