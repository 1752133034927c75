"""``courante.testing``: whole runs in memory, with stand-ins for steps and people, on a simulated clock."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pytest

from courante import Context, Deferred, RetryableError
from courante.testing import Faults, NotMocked, Say, Stuck, after, attempts, rehearse, when_waiting

Node = dict[str, Any]


def document(*nodes: Node, **fields: Any) -> dict[str, Any]:
    return {"courante": 1, "id": "w", "nodes": list(nodes), **fields}


def call(id: str, *depends_on: str, **fields: Any) -> Node:
    return {"id": id, "type": "function", "config": {"handler": f"h.{id}"}, "depends_on": list(depends_on), **fields}


def test_the_examples_of_the_documentation() -> None:
    """Every test in the how-to page passes."""
    page = (files("courante") / "docs" / "how-to" / "test-workflows.md").read_text("utf-8")
    source = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    scope: dict[str, Any] = {}
    exec(compile(source, "test-workflows.md", "exec"), scope)  # noqa: S102 - the page of this repository
    tests = [value for name, value in scope.items() if name.startswith("test_")]
    assert len(tests) == 4
    for test in tests:
        test()


def test_days_take_no_time() -> None:
    nodes = [
        {"id": "a", "type": "wait", "config": {"for": "30d"}},
        {"id": "b", "type": "sleep", "config": {"for": "90s"}, "depends_on": "a"},
    ]
    run = rehearse(document(*nodes), 7)
    assert (run.status, run.output, run.elapsed_s) == ("COMPLETED", {"b": 7}, 30 * 86_400 + 90)


def test_sleeps_side_by_side_take_as_long_as_the_longest() -> None:
    nodes = [{"id": f"n{n}", "type": "sleep", "config": {"for": f"{n}s"}} for n in (3, 1, 2)]
    run = rehearse(document(*nodes))
    assert run.elapsed_s == 3
    assert run.succeeded == ["n1", "n2", "n3"]


def test_a_handler_is_what_a_step_is() -> None:
    """Plain and async, with no, one and two arguments; the context knows where it is."""
    seen: list[str] = []

    async def double(value: int) -> int:
        return 2 * value

    def third(value: int, context: Context) -> int:
        seen.append(f"{context.node} {context.attempt}/{context.max_attempts}")
        return value + 1

    run = rehearse(document(call("a"), call("b", "a"), call("c", "b")), mocks={"a": lambda: 1, "b": double, "c": third})
    assert run.require().output == {"c": 3}
    assert seen == ["c 1/3"]


def test_retries_follow_the_policy_to_the_millisecond() -> None:
    """Backoff, Retry-After and the budget of the run."""
    policy = {"max_attempts": 5, "base": "1s", "factor": 2, "jitter": False}
    outcomes = attempts(ValueError("1"), ValueError("2"), RetryableError("3", retry_after_s=60), "done")
    run = rehearse(document(call("a", retry=policy)), mocks={"a": outcomes})
    assert [step.at_s for step in run.attempts("a")] == [0, 1, 3, 63]
    assert run.output == {"a": "done"}
    run = rehearse(document(call("a", retry=policy), policy={"retry_budget": 2}), mocks={"a": outcomes})
    assert (run.status, len(run.attempts("a"))) == ("FAILED", 3)


def test_a_step_without_a_stand_in_is_named() -> None:
    with pytest.raises(NotMocked, match=r"step 'a' \(handler 'h.a'\) has no stand-in"):
        rehearse(document(call("a")))
    assert rehearse(document(call("a", when="false"))).status == "COMPLETED", "a step that is not reached needs none"


def test_a_document_with_errors_says_all_of_them() -> None:
    with pytest.raises(ValueError, match=r"(?s)'nobody' .unknown_node.*'nothing' .unknown_node"):
        rehearse(document(call("a", "nobody"), call("b", "nothing")))


def test_who_waits_for_nobody_is_named() -> None:
    node = {"id": "paid", "type": "signal", "config": {"name": "payment"}}
    with pytest.raises(Stuck, match="step 'paid' waits for payment"):
        rehearse(document(node))
    run = rehearse(document(node), cues=[after("2d", Say(kind="signal", name="payment", data={"sum": 5}))])
    assert (run.output, run.elapsed_s) == ({"paid": {"sum": 5}}, 2 * 86_400)


def test_a_step_that_is_handed_out_is_completed_by_a_cue() -> None:
    def hand_out(value: object, context: Context) -> Deferred:
        del value
        return context.defer()

    cues = [when_waiting("a", Say(kind="complete", data="from outside"), delay="5m")]
    run = rehearse(document(call("a")), mocks={"a": hand_out}, cues=cues)
    assert (run.output, run.elapsed_s) == ({"a": "from outside"}, 300)


def test_a_paused_run_goes_on_where_it_was() -> None:
    nodes = [{"id": "a", "type": "wait", "config": {"for": "10s"}}, call("b", "a")]
    cues = [after("5s", Say(kind="pause")), after("1h", Say(kind="resume"))]
    run = rehearse(document(*nodes), mocks={"b": "late"}, cues=cues)
    assert (run.output, run.step("b").at_s) == ({"b": "late"}, 3600)


def test_workers_that_die_cost_time_and_nothing_else() -> None:
    """Handlers run again, every step counts once, and the same seed tells the same story."""
    nodes = [call(f"n{n}", *([f"n{n - 1}"] if n else [])) for n in range(20)]
    calls: list[int] = []

    def count(value: object) -> object:
        calls.append(1)
        return value

    mocks = {node["id"]: count for node in nodes}
    run = rehearse(document(*nodes), 5, mocks, faults=Faults(crashes=0.3, twice=0.3), seed=1)
    assert run.require().output == {"n19": 5}
    assert run.succeeded == [node["id"] for node in nodes]
    assert len(calls) > 20
    assert run.elapsed_s == 30 * (len(calls) - 20)
    again = rehearse(document(*nodes), 5, mocks, faults=Faults(crashes=0.3, twice=0.3), seed=1)
    assert again.timeline() == run.timeline()
    assert again.timeline() != rehearse(document(*nodes), 5, mocks, faults=Faults(crashes=0.3), seed=2).timeline()


def test_a_run_that_ended_otherwise_shows_its_timeline() -> None:
    run = rehearse(document(call("a", max_retries=0)), mocks={"a": ValueError("broken")})
    with pytest.raises(
        AssertionError, match=r"(?s)the run is FAILED, not COMPLETED\n.*FAILED    a: ValueError: broken"
    ):
        run.require()
