"""What stands in the way of a run that is to go on with another version of its workflow, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from courante.compiler.fitting import fit
from courante.compiler.ir import encode_ir, ir_hash
from courante.sdk.errors import Blocker
from courante.sdk.events import ErrorInfo, Facts, RecordedEvent
from courante.sdk.fold.cuts import Cut, Cutter
from courante.sdk.marking.plan import Plan
from courante.sdk.migration.migrating import prove
from model.compiled import plan_of

Nodes = list[dict[str, Any]]
Event = tuple[str, str, dict[str, Any]]


def step(name: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "noop", "depends_on": list(depends_on), **more}


def happened(kind: str, node: str = "", **more: Any) -> Event:
    return kind, node, more


def done(node: str, scope: str = "", **more: Any) -> Event:
    return happened("step.succeeded", node, attempt=1, scope=scope, payload=b"{}", **more)


def waits(node: str, reason: str, *names: str, **data: Any) -> Event:
    return happened("step.waiting", node, attempt=1, reason=reason, data={"names": list(names), **data})


def cut_of(plan: Plan, *events: Event) -> Cut:
    cutter = Cutter(plan.ir)
    begun: list[Event] = [happened("run.started", payload=b"{}"), *events]
    for seq, (kind, node, more) in enumerate(begun, 1):
        said = {name: value for name, value in more.items() if name != "payload"}
        facts = Facts(type=kind, node=node, **said)
        cutter.add(RecordedEvent(run_id="r", seq=seq, at_ms=1_000, facts=facts, payload=more.get("payload")))
    return cutter.cut()


def compiled(nodes: Nodes, **policy: Any) -> Plan:
    return plan_of({"courante": 1, "id": "w", "policy": policy, "nodes": nodes})


def proof(old: Nodes, new: Nodes, *events: Event, partition: int = 0, policies: Any = ({}, {})) -> list[Blocker]:
    before, after = compiled(old, **policies[0]), compiled(new, **policies[1])
    content = encode_ir(fit(before.ir, after.ir))
    return prove("r", before, Plan.load(ir_hash(content), content), cut_of(before, *events), partition=partition)


def codes(found: list[Blocker]) -> set[str]:
    return {blocker.code for blocker in found}


CHAIN: Nodes = [step("a"), step("b", "a"), step("c", "b")]
FORK: Nodes = [step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c")]


@pytest.mark.parametrize(
    "new",
    [
        [*CHAIN, step("d", "c")],
        [*CHAIN, step("d", "b")],
        [step("a"), step("x", "b"), step("b", "a"), step("c", "x")],
        CHAIN[:2],
        [CHAIN[0], {**CHAIN[1], "timeout": "5s", "retry": {"max_attempts": 9}}, CHAIN[2]],
        [*CHAIN[:2], {"id": "c", "type": "transform", "depends_on": "b", "config": {"expression": "steps.a.output"}}],
    ],
    ids=["behind", "beside", "between", "less", "otherwise", "read"],
)
def test_what_is_still_to_come_may_change(new: Nodes) -> None:
    assert proof(CHAIN, new, done("a")) == []


def test_the_same_version_is_always_allowed() -> None:
    assert proof(CHAIN, CHAIN, done("a")) == []


def test_before_anything_has_begun_everything_may_change() -> None:
    held = happened("run.started", payload=b"{}", data={"held": True})
    before, after = compiled(CHAIN), compiled([step("z"), step("y", "z")])
    cutter = Cutter(before.ir)
    cutter.add(RecordedEvent(run_id="r", seq=1, at_ms=1, facts=Facts(type=held[0], data={"held": True})))
    content = encode_ir(fit(before.ir, after.ir))
    assert prove("r", before, Plan.load(ir_hash(content), content), cutter.cut()) == []


def test_a_token_needs_its_step() -> None:
    (found,) = proof(CHAIN, [step("a"), step("c", "a")], done("a"))
    assert (found.code, found.token, found.node) == ("node_gone", "r/b/", "b")
    assert "'b'" in found.hint
    assert "ready to run" in found.message


def test_a_token_needs_a_step_of_the_same_kind() -> None:
    new = [CHAIN[0], {"id": "b", "type": "echo", "depends_on": "a", "config": {"value": 1}}, CHAIN[2]]
    assert codes(proof(CHAIN, new, done("a"))) == {"node_kind"}


def test_a_token_needs_its_step_where_it_was() -> None:
    new = [CHAIN[0], {**CHAIN[1], "loop": {"while": "false", "back_to": "b"}}, CHAIN[2]]
    assert codes(proof(CHAIN, new, done("a"))) == {"node_scope"}


def test_all_that_stands_in_the_way_is_found() -> None:
    assert [found.node for found in proof(FORK, [step("a"), step("e", "a")], done("a"))] == ["b", "c"]


def test_a_step_that_has_run_stays() -> None:
    assert codes(proof(CHAIN, [step("b"), step("c", "b")], done("a"))) == {"step_gone"}


def test_a_step_that_has_run_stays_where_it_was() -> None:
    new = [{**CHAIN[0], "loop": {"while": "false", "back_to": "a"}}, *CHAIN[1:]]
    assert codes(proof(CHAIN, new, done("a"))) == {"step_moved"}


def test_what_has_run_leads_nowhere_else() -> None:
    """Its ways are decided: a step that is new there would wait for ever, or never begin."""
    (found,) = proof(CHAIN, [*CHAIN, step("d", "a")], done("a"))
    assert (found.code, found.node, found.token) == ("way_missing", "d", "")
    assert codes(proof(CHAIN, [*CHAIN, step("d", "a", "c")], done("a"))) == {"way_missing"}


def test_a_step_that_would_have_begun_with_the_run_is_too_late() -> None:
    assert codes(proof(CHAIN, [*CHAIN, step("d")], done("a"))) == {"begins_the_run"}


def test_a_branch_that_was_not_taken_may_go_on_otherwise() -> None:
    rules = {"rules": [{"when": "true", "next": ["b"]}], "default": ["c"]}
    old = [step("a", **rules), step("b"), step("c"), step("z", "b")]
    taken = done("a", edges="ld-")
    assert proof(old, [*old, step("d", "c")], taken) == []
    assert codes(proof(old, [*old[:3], step("z", "b", "c")], taken)) <= {"join_unclear", "way_missing"}


def test_a_join_that_waits_keeps_what_has_arrived() -> None:
    half = (done("a"), done("b"))
    longer = [*FORK[:3], step("x", "c"), step("d", "b", "x")]
    assert proof(FORK, longer, *half) == []
    assert proof(FORK, [*FORK[:3], step("x", "c"), step("d", "b", "c", "x")], *half) == []
    lost = proof(FORK, [*FORK[:3], step("d", "c")], *half)
    assert codes(lost) == {"arrival_lost"}
    assert codes(proof(FORK, [*FORK[:3], {**FORK[3], "join": "any"}], *half)) == {"join_changed"}
    assert codes(proof(FORK, [*FORK[:3], step("d", "b")], *half)) == {"join_starved"}
    assert codes(proof(FORK, FORK[:3], *half)) == {"join_gone"}


def test_what_has_begun_waits_for_nothing_else() -> None:
    new = [*FORK[:2], step("c", "a", "b"), step("d", "c")]
    assert codes(proof(FORK, new, done("a"))) == {"begun_before"}


def test_what_has_begun_had_the_same_reasons() -> None:
    early = [*FORK[:3], {**FORK[3], "join": "any"}, step("e", "d")]
    fired = (done("a"), done("b"), happened("join.fired", "d", data={"live": "+0"}))
    assert proof(early, [*early, step("f", "e")], *fired) == []
    assert codes(proof(early, [*early[:3], {**FORK[3], "join": "all"}, early[4]], *fired)) == {"join_changed"}


LOOP: Nodes = [
    step("a"),
    step("b", "a"),
    step("l", "b", loop={"while": "true", "back_to": "b", "max_iterations": 5}),
    step("z", "l"),
]


def test_a_loop_under_way_keeps_its_steps() -> None:
    inside = (done("a"), done("b", "1"))
    faster = {**LOOP[2], "loop": {"while": "false", "back_to": "b", "max_iterations": 9}}
    assert proof(LOOP, [*LOOP[:2], faster, step("y", "l"), step("z", "y")], *inside) == []
    longer = [*LOOP[:2], step("x", "b"), {**LOOP[2], "depends_on": ["x"]}, LOOP[3]]
    (found,) = proof(LOOP, longer, *inside)
    assert (found.code, found.token) == ("region_changed", "r/l/1")
    assert "other steps are in it: x" in found.message
    assert proof(LOOP, longer) == []


MAP: Nodes = [
    {"id": "m", "type": "map", "config": {"items": "[1, 2]", "max_concurrency": 1}},
    step("i", "m"),
    {"id": "g", "type": "aggregate", "depends_on": ["i"]},
    step("z", "g"),
]


def test_a_map_with_items_keeps_its_body() -> None:
    opened = done("m", data={"items": 2})
    wider = {**MAP[0], "config": {"items": "[]", "max_concurrency": 9}}
    assert proof(MAP, [wider, *MAP[1:3], step("y", "g"), step("z", "y")], opened) == []
    longer = [*MAP[:2], step("x", "i"), {**MAP[2], "depends_on": ["x"]}, MAP[3]]
    assert codes(proof(MAP, longer, opened)) == {"region_changed"}
    assert proof(MAP, longer) == []


@pytest.mark.parametrize(
    ("before", "after", "waiting"),
    [
        (
            {"type": "signal", "config": {"name": "go"}},
            {"type": "signal", "config": {"name": "stop"}},
            [waits("w", "signal", "go")],
        ),
        (
            {"type": "noop", "requires_approval": True},
            {"type": "noop"},
            [waits("w", "approval", "!approval/0")],
        ),
        (
            {"type": "noop", "mutex": "one"},
            {"type": "noop", "mutex": "other"},
            [waits("w", "mutex"), happened("mutex.granted", "w")],
        ),
        (
            {"type": "noop", "concurrency": {"key": "'k'", "limit": 1}},
            {"type": "noop", "concurrency": {"key": "'k'", "limit": 2}},
            [waits("w", "slot", "0123", limit=1)],
        ),
        (
            {"type": "map", "config": {"items": "[1]", "more": {"signal": "more", "expires": "1h"}}},
            {"type": "map", "config": {"items": "[1]", "more": {"signal": "else", "expires": "1h"}}},
            [
                happened(
                    "step.waiting", "w", attempt=1, reason="more", data={"names": ["more"], "items": 1}, payload=b"[1]"
                )
            ],
        ),
    ],
    ids=["signal", "approval", "mutex", "slot", "more"],
)
def test_what_is_waited_for_stays(before: dict[str, Any], after: dict[str, Any], waiting: list[Event]) -> None:
    body = [step("i", "w"), {"id": "g", "type": "aggregate", "depends_on": ["i"]}] if before["type"] == "map" else []
    old, new = [{"id": "w", **before}, *body], [{"id": "w", **after}, *body]
    assert proof(old, [*old, step("z", "g" if body else "w")], *waiting) == []
    found = proof(old, new, *waiting)
    assert (codes(found), found[0].token) == ({"wait_changed"}, "r/w/")


def test_what_runs_beside_a_step_that_waits_stays() -> None:
    old = [{"id": "w", "type": "signal", "config": {"name": "go"}}, step("a"), step("b", "a", while_waiting="w")]
    waiting = waits("w", "signal", "go")
    assert proof(old, [*old, step("z", "b")], waiting) == []
    assert "wait_changed" in codes(proof(old, [*old, step("c", "a", while_waiting="w")], waiting))


def test_what_is_to_be_undone_can_be_undone() -> None:
    undo = step("u")
    old = [step("a", compensate="u"), step("b", "a"), undo]
    assert proof(old, [step("a", compensate="v"), step("b", "a"), step("v")], done("a")) == []
    assert codes(proof(old, [step("a"), step("b", "a")], done("a"))) == {"undo_gone"}
    assert codes(proof([step("a"), step("b", "a")], old, done("a"))) == {"undo_late"}


def test_what_was_not_kept_is_not_read() -> None:
    reading = {"id": "c", "type": "transform", "depends_on": "b"}
    for expression in ("steps.a.input", "steps.a.status"):
        new = [*CHAIN[:2], {**reading, "config": {"expression": expression}}]
        assert codes(proof(CHAIN, new, done("a"))) == {"value_missing"}, expression
        assert proof(CHAIN, new) == [], expression


def test_a_run_that_has_failed_keeps_its_policy() -> None:
    failed = happened("step.failed", "b", attempt=1, error=ErrorInfo(type="E", message="m"), edges="f-")
    on, off = {"on_failure": "continue"}, {"on_failure": "fail_fast"}
    longer = [*FORK, step("e", "d")]
    assert proof(FORK, longer, done("a"), failed, policies=(on, on)) == []
    assert codes(proof(FORK, longer, done("a"), failed, policies=(on, off))) == {"failed_before"}


def test_a_run_that_ends_is_not_moved() -> None:
    cancelled = happened("command.applied", data={"number": 2, "type": "cancel"})
    draining = happened("run.draining", reason="cancelled")
    assert "run_ending" in codes(proof(CHAIN, [*CHAIN, step("d", "c")], cancelled, draining))


def test_what_is_shared_with_other_runs_is_in_the_first_partition() -> None:
    new = [*CHAIN[:2], {**CHAIN[2], "concurrency": {"key": "'k'", "limit": 1}}]
    assert proof(CHAIN, new, done("a")) == []
    assert codes(proof(CHAIN, new, done("a"), partition=1)) == {"elsewhere"}
