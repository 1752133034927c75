"""Child runs in a rehearsal: rehearsed themselves, or stood in for."""

from __future__ import annotations

from typing import Any

import pytest

from courante.testing import NotMocked, Say, attempts, rehearse, when_waiting

Node = dict[str, Any]
SUBFLOW: Node = {"id": "bill", "type": "subflow", "config": {"workflow": "billing"}}


def document(*nodes: Node, id: str = "w", **fields: Any) -> dict[str, Any]:
    return {"courante": 1, "id": id, "nodes": list(nodes), **fields}


BILLING = document(
    {"id": "rest", "type": "wait", "config": {"for": "1h"}},
    {"id": "charge", "type": "function", "depends_on": "rest", "config": {"handler": "charge"}, "max_retries": 0},
    id="billing",
    input={"type": "object", "required": ["sum"]},
    output="steps.charge.output",
)


def double(given: dict[str, int]) -> int:
    return given["sum"] * 2


def following(given: int) -> int:
    return given + 1


def test_a_child_run_is_rehearsed_too() -> None:
    """Its time passes for its parent as well; its steps are there to be looked at."""
    run = rehearse(document(SUBFLOW), {"sum": 3}, {"charge": double}, workflows={"billing": BILLING})
    assert (run.require().output, run.elapsed_s) == ({"bill": 6}, 3_600)
    assert run.child("bill").succeeded == ["rest", "charge"]


def test_a_failure_of_a_child_run_goes_up() -> None:
    """And what cannot be accepted is refused, with the reason."""
    run = rehearse(document(SUBFLOW), {"sum": 3}, {"charge": ValueError("no")}, workflows={"billing": BILLING})
    error = run.require("FAILED").error
    assert error is not None
    assert (error.type, error.message.partition(": ")[2]) == ("SUBFLOW_FAILED", "step charge: ValueError: no")
    refused = rehearse(document(SUBFLOW), {}, workflows={"billing": BILLING}).require("FAILED").error
    assert refused is not None
    assert refused.type == "SUBFLOW_REFUSED"


def test_a_stand_in_is_the_whole_child_run() -> None:
    """By the step, by the workflow, or for all of them; without one and without a document it is named."""
    for name in ("bill", "billing", "subflow"):
        assert rehearse(document(SUBFLOW), 1, {name: following}).output == {"bill": 2}
    with pytest.raises(NotMocked, match=r"step 'bill' \(workflow 'billing'\) .* or give its document in workflows="):
        rehearse(document(SUBFLOW), 1)


def test_each_attempt_has_its_child_run() -> None:
    """The time of the step is over before the first one is; the second one is quicker."""
    step = {**SUBFLOW, "timeout": "30m", "retry": {"max_attempts": 2, "base": "1s", "jitter": False}}
    slow = document({"id": "s", "type": "signal", "config": {"name": "go"}}, id="billing")
    cues = [when_waiting("bill/s", Say(kind="signal", name="go", data=1), delay="1h")]
    run = rehearse(document(step), cues=cues, workflows={"billing": slow}).require("FAILED")
    assert run.error is not None
    assert (run.error.type, len(run.children), run.elapsed_s) == ("TIMEOUT", 2, 3_601)
    assert {each.run.status for each in run.children} == {"CANCELLED"}


def test_a_child_run_is_cancelled_when_its_step_waits_no_more() -> None:
    """Nothing of it happens any more that would have come later; its own child runs are cancelled as well."""
    called: list[object] = []
    middle = document({**SUBFLOW, "id": "below"}, id="middle")
    step = {**SUBFLOW, "config": {"workflow": "middle"}}
    hurry = {"id": "hurry", "type": "wait", "config": {"for": "10m"}}
    bad = {"id": "bad", "type": "function", "depends_on": "hurry", "config": {"handler": "bad"}, "max_retries": 0}
    workflows = {"middle": middle, "billing": BILLING}
    mocks: dict[str, Any] = {"bad": ValueError("no"), "charge": called.append}
    run = rehearse(document(step, hurry, bad), {"sum": 1}, mocks, workflows=workflows).require("FAILED")
    (child,) = run.children
    (inner,) = child.run.children
    assert (child.run.status, inner.run.status, called) == ("CANCELLED", "CANCELLED", [])
    assert (run.elapsed_s, inner.run.elapsed_s) == (600, 600)


def test_a_detached_child_run_goes_on_when_its_parent_has_ended() -> None:
    """Also one of a child run, whose step hears of its own end at once."""
    middle = document({**SUBFLOW, "config": {"workflow": "billing", "detached": True}}, id="middle")
    step = {**SUBFLOW, "config": {"workflow": "middle"}}
    workflows = {"middle": middle, "billing": BILLING}
    run = rehearse(document(step), {"sum": 1}, {"charge": double}, workflows=workflows).require()
    inner = run.child("bill").child("bill")
    assert (run.elapsed_s, inner.status, inner.elapsed_s) == (0, "COMPLETED", 3_600)


def test_a_workflow_that_runs_itself_is_rehearsed_as_deep_as_it_goes() -> None:
    """Each level is a run of its own."""
    down = {"id": "down", "type": "subflow", "when": "input > 0", "config": {"workflow": "w"}, "input": "input - 1"}
    run = rehearse(document(down), 3).require()
    depth = 0
    while run.children:
        run, depth = run.child("down"), depth + 1
    assert depth == 3
    deep = rehearse(document(down), 100).require("FAILED")
    assert deep.error is not None


def test_a_detached_child_run_is_not_waited_for() -> None:
    """Its parent ends at once, with its id."""
    step = {**SUBFLOW, "config": {"workflow": "billing", "detached": True}}
    run = rehearse(document(step), {"sum": 1}, {"charge": attempts(1)}, workflows={"billing": BILLING})
    assert (run.elapsed_s, list(run.output["bill"])) == (0, ["run_id"])
