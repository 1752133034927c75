"""The fields ``concurrency`` and ``rate_limit`` as they are read, and the row of a bounded run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.compiler.analysis import compile_workflow
from courante.compiler.diagnostics import Severity
from courante.compiler.normalize import normalize
from courante.compiler.workflow import Pace, Share
from courante.sdk.marking.room import Room
from courante.testing.slot_table import SlotTable


def codes(**fields: Any) -> set[str]:
    """The codes of the findings about a workflow of one node."""
    workflow, found = normalize({"courante": 1, "id": "w", "nodes": [{"id": "a", "type": "noop", **fields}]})
    if workflow is not None:
        found = [*found, *compile_workflow(workflow)[1]]
    return {each.code for each in found}


def test_both_fields_are_read() -> None:
    node = {
        "id": "a",
        "type": "noop",
        "concurrency": {"key": "input.x", "limit": 3, "fair": "run.id"},
        "rate_limit": {"key": "'mail'", "limit": 10, "per": "1m"},
    }
    workflow, found = normalize({"courante": 1, "id": "w", "nodes": [node]})
    assert workflow is not None
    assert not found
    assert workflow.nodes[0].concurrency == Share(key="input.x", limit=3, fair="run.id")
    assert workflow.nodes[0].rate_limit == Pace(key="'mail'", limit=10, per_ms=60_000)


def test_a_node_refuses_what_the_defaults_say() -> None:
    defaults = {"concurrency": {"key": "'k'", "limit": 1}, "rate_limit": {"key": "'r'", "limit": 1, "per": "1s"}}
    nodes = [{"id": "a", "type": "noop"}, {"id": "b", "type": "noop", "concurrency": False, "rate_limit": False}]
    workflow, _ = normalize({"courante": 1, "id": "w", "defaults": defaults, "nodes": nodes})
    assert workflow is not None
    one, other = workflow.nodes
    assert (one.concurrency is None, one.rate_limit is None) == (False, False)
    assert (other.concurrency, other.rate_limit) == (None, None)


@pytest.mark.parametrize("kind", ["signal", "approval"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mutex", "m"),
        ("concurrency", {"key": "'k'", "limit": 1}),
        ("rate_limit", {"key": "'r'", "limit": 1, "per": "1s"}),
    ],
)
def test_a_node_that_is_only_waited_for_holds_nothing(kind: str, name: str, value: Any) -> None:
    """It never runs; who writes it there is told, and what the defaults say is meant for others."""
    config = {"name": "go"} if kind == "signal" else {}
    node = {"id": "a", "type": kind, "config": config}
    workflow, found = normalize({"courante": 1, "id": "w", "nodes": [{**node, name: value}]})
    assert [(each.code, each.severity, each.path) for each in found] == [
        ("ignored_field", Severity.WARNING, ("nodes", 0, name))
    ]
    assert workflow is not None
    assert getattr(workflow.nodes[0], name) is None
    if name != "mutex":
        _, found = normalize({"courante": 1, "id": "w", "defaults": {name: value}, "nodes": [node]})
        assert not found


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"concurrency": {"key": "'k'"}}, "missing_field"),
        ({"concurrency": {"key": "'k'", "limit": 0}}, "out_of_range"),
        ({"concurrency": {"key": "'k'", "limit": 1, "fare": "1"}}, "unknown_field"),
        ({"concurrency": {"key": "steps.nobody.output", "limit": 1}}, "unknown_name"),
        ({"rate_limit": {"key": "'r'", "limit": 1}}, "missing_field"),
        ({"rate_limit": {"key": "'r'", "limit": 1, "per": 0}}, "out_of_range"),
    ],
)
def test_what_is_wrong_with_them_is_told(fields: dict[str, Any], code: str) -> None:
    assert code in codes(**fields)


def test_those_who_wait_are_let_in_by_their_order() -> None:
    """Who leaves the row is passed over; who is inside makes room by leaving."""
    room = Room(2, waiting=dict.fromkeys([(3, ()), (1, ()), (2, ()), (0, ())]))
    assert room.let_in() == [(3, ()), (1, ())]
    room.leave((2, ()))
    assert room.let_in() == []
    room.leave((3, ()))
    assert (room.let_in(), [*room.waiting]) == ([(0, ())], [])


@given(
    st.integers(1, 20),
    st.integers(1, 100_000),
    st.lists(st.floats(0, 2, allow_subnormal=False), min_size=1, max_size=40),
)
def test_a_bucket_never_gives_more_than_it_holds_and_what_has_run_in_since(
    limit: int, per_ms: int, gaps: list[float]
) -> None:
    """However the asking is spread, also by less than one in ``per``; and who finds it full goes at once."""
    table, now_ms = SlotTable(), 0
    dues: list[int] = []
    for gap in gaps:
        now_ms += round(gap * per_ms)
        dues.append(table.pace("r", limit, per_ms, now_ms))
        assert dues[-1] >= now_ms
        assert dues[-1] == now_ms or len(dues) > limit
    assert dues == sorted(dues)
    for first, begin in enumerate(dues):
        for last in range(first, len(dues)):
            assert last - first + 1 <= limit + (dues[last] - begin + 1) * limit / per_ms + 1e-6
    assert table.pace("r", limit, per_ms, dues[-1] + per_ms) == dues[-1] + per_ms
