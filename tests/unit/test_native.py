"""The native document: what it means, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from courante.compiler.durations import format_duration, parse_duration
from courante.compiler.limits import DURATION_MS_MAX
from courante.compiler.normalize import normalize
from courante.compiler.source import load_source
from courante.compiler.workflow import (
    Approval,
    Budget,
    Cache,
    EdgeKind,
    Join,
    JoinPolicy,
    Json,
    Loop,
    Node,
    OnExhausted,
    OnFailure,
    Policy,
    Retry,
    Routing,
    Rule,
    Signal,
    Workflow,
)

SAMPLE = """
courante: 1
id: order-scoring
name: Order scoring
description: free text
input:
  type: object
  required: [orders]
output: "{'best': steps.pick.output}"
policy:
  on_failure: continue
  timeout: 1h
  max_parallel: 100
defaults:
  retry: {max_attempts: 4}
  timeout: 30s
nodes:
  - id: fetch
    type: http
    config: {method: GET, url: "https://shop.example/orders/{{ input.orders }}"}
  - id: score
    type: function
    depends_on: fetch
    config: {handler: shop.score}
    input: {text: steps.fetch.output.body}
    when: "steps.fetch.output.status == 200"
    retry: {base: 2s, factor: 3, max: 90s, jitter: false, on: [network, 429, "5xx", timeout]}
    timeout: 45
    cache: {scope: global, ttl: 1d}
    queue: gpu
    priority: high
    requires_approval: true
    on_error: apologise
    compensate: refund
    join: all
    mutex: printer
    while_waiting: review
    cancels: [notify]
  - id: decide
    type: conditional
    depends_on: [score]
    config:
      rules:
        - {when: "output.score > 0.8", next: [accept]}
        - {when: "output.score > 0.5", next: [review, notify]}
      default: [reject]
      mode: first
  - {id: accept, type: noop, depends_on: [decide]}
  - {id: review, type: approval, depends_on: [decide], config: {form: {type: object}, expires: 2d, escalate_to: lead}}
  - {id: notify, type: noop}
  - {id: reject, type: noop, x-colour: red, metadata: {team: a}}
  - {id: apologise, type: noop}
  - {id: refund, type: noop, cache: run_only}
  - {id: done, type: noop, join: {at_least: 2}}
  - id: poll
    type: http
    loop: {while: "output.status != 'ready'", back_to: poll, max_iterations: 50, on_exhausted: done, delay: 5s}
edges:
  - {from: accept, to: done, when: "output.score > 0.9"}
  - {from: reject, to: done}
  - {from: fetch, to: score, when: "true"}
x-owner: shop
"""


def read(text: str) -> Workflow:
    """The workflow of a document without a fault."""
    workflow, diagnostics = normalize(load_source(text).value)
    assert diagnostics == []
    assert workflow is not None
    return workflow


def small(*nodes: dict[str, Any], **fields: Json) -> dict[str, Json]:
    """A document of these nodes."""
    return {"courante": 1, "id": "w", "nodes": list(nodes), **fields}


def node(id: str = "a", type: str = "noop", **fields: Json) -> dict[str, Any]:
    return {"id": id, "type": type, **fields}


def only(**fields: Json) -> Node:
    """The node of a document with this one node."""
    workflow, diagnostics = normalize(small(node(**fields)))
    assert diagnostics == []
    assert workflow is not None
    return workflow.nodes[0]


def test_the_sample_means_what_it_says() -> None:
    """Every field of the native form arrives in the workflow."""
    workflow = read(SAMPLE)
    assert workflow.id == "order-scoring"
    assert workflow.policy == Policy(on_failure=OnFailure.CONTINUE, timeout_ms=3_600_000, max_parallel=100)
    assert workflow.metadata == {"x-owner": "shop"}
    by_id = {each.id: each for each in workflow.nodes}
    assert by_id["score"] == Node(
        id="score",
        type="function",
        config={"handler": "shop.score"},
        input={"text": "steps.fetch.output.body"},
        when="steps.fetch.output.status == 200",
        join=Join(policy=JoinPolicy.ALL),
        retry=Retry(
            max_attempts=4, base_ms=2_000, factor=3.0, max_ms=90_000, jitter=False,
            on=("network", "429", "5xx", "timeout"),
        ),
        timeout_ms=45_000,
        cache=Cache(scope="global", ttl_ms=86_400_000),
        queue="gpu",
        priority="high",
        approval=Approval(),
        on_error=("apologise",),
        compensate="refund",
        mutex="printer",
        while_waiting="review",
        cancels=("notify",),
    )  # fmt: skip
    assert by_id["decide"].config == {}
    assert by_id["decide"].routing == Routing(
        rules=(
            Rule(when="output.score > 0.8", next=("accept",)),
            Rule(when="output.score > 0.5", next=("review", "notify")),
        ),
        default=("reject",),
    )
    assert by_id["review"].config == {}
    assert by_id["review"].approval == Approval(
        form={"type": "object"}, expires_ms=172_800_000, escalate_to="lead", escalate_ms=86_400_000
    )
    assert by_id["refund"].cache == Cache(scope="run_only")
    assert by_id["reject"].metadata == {"x-colour": "red", "team": "a"}
    assert by_id["done"].join == Join(policy=JoinPolicy.AT_LEAST, n=2)
    assert by_id["poll"].loop == Loop(
        condition="output.status != 'ready'", back_to="poll", max_iterations=50, on_exhausted=("done",), delay_ms=5_000
    )


def test_edges_are_one_per_pair_and_kind_in_the_order_of_naming() -> None:
    """``depends_on``, then routing, then ``edges``; a condition joins the edge it names; special edges come last."""
    edges = [(edge.source, edge.target, edge.kind, edge.when) for edge in read(SAMPLE).edges]
    assert edges == [
        ("fetch", "score", EdgeKind.NORMAL, "true"),
        ("score", "decide", EdgeKind.NORMAL, None),
        ("decide", "accept", EdgeKind.NORMAL, None),
        ("decide", "review", EdgeKind.NORMAL, None),
        ("decide", "notify", EdgeKind.NORMAL, None),
        ("decide", "reject", EdgeKind.NORMAL, None),
        ("accept", "done", EdgeKind.NORMAL, "output.score > 0.9"),
        ("reject", "done", EdgeKind.NORMAL, None),
        ("score", "apologise", EdgeKind.ERROR, None),
        ("poll", "done", EdgeKind.EXHAUSTED, None),
        ("review", "score", EdgeKind.MILESTONE, None),
    ]


def test_defaults_fill_in_field_by_field() -> None:
    """A node's own fields go before the defaults; of ``retry``, each field for itself."""
    defaults = {"retry": {"base": "2m"}, "max_retries": 1, "queue": "q", "cache": "global", "timeout": "1s"}
    nodes = (
        node("a"),
        node("b", retry={"max_attempts": 7}, queue="r", cache=False, timeout="2s"),
        node("c", max_retries=0),
    )
    workflow, _ = normalize(small(*nodes, defaults=defaults))
    assert workflow is not None
    a, b, c = workflow.nodes
    assert a.retry == Retry(max_attempts=2, base_ms=120_000, max_ms=120_000)
    assert (a.queue, a.cache, a.timeout_ms) == ("q", Cache(), 1_000)
    assert b.retry == Retry(max_attempts=7, base_ms=120_000, max_ms=120_000)
    assert (b.queue, b.cache, b.timeout_ms) == ("r", None, 2_000)
    assert c.retry.max_attempts == 1


@pytest.mark.parametrize(
    ("written", "ms"),
    [("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("1h", 3_600_000), ("2d", 172_800_000), (0.25, 250),
     (30, 30_000),
     ("1.5h", 5_400_000), ("0s", 0), (0, 0), ("30", None), ("", None), ("-1s", None), (-1, None), ("1 s", None),
     ("1w", None), (True, None), (None, None), ("9999999d", None), ("1e3s", None), ("٣s", None), ("1s\n", None)],
)  # fmt: skip
def test_durations(written: object, ms: int | None) -> None:
    """Durations are read in ms; everything else is none."""
    assert parse_duration(written) == ms


@pytest.mark.parametrize("ms", [0, 1, 999, 1_000, 60_000, 90_000, 3_600_000, 86_400_000, DURATION_MS_MAX, 86_400_001])
def test_a_formatted_duration_is_read_back(ms: int) -> None:
    """Formatting loses nothing."""
    assert parse_duration(format_duration(ms)) == ms


@pytest.mark.parametrize(
    ("written", "approval"),
    [
        (True, Approval()),
        (False, None),
        ({}, Approval()),
        ({"form": {"type": "object"}}, Approval(form={"type": "object"})),
        ({"expires": "2d"}, Approval(expires_ms=172_800_000)),
        ({"expires": 1, "escalate_to": "lead"}, Approval(expires_ms=1_000, escalate_to="lead", escalate_ms=500)),
        ({"expires": "1ms", "escalate_to": "lead"}, Approval(expires_ms=1, escalate_to="lead", escalate_ms=1)),
        ({"escalate_to": "lead", "escalate_after": "1h"}, Approval(escalate_to="lead", escalate_ms=3_600_000)),
        ({"separate_approver": True}, Approval(separate_approver=True)),
        ({"separate_approver": False}, Approval()),
        ({"x-note": 1}, Approval()),
    ],
)
def test_a_gate_is_a_word_or_an_object(written: Json, approval: Approval | None) -> None:
    """``requires_approval`` says as much or as little as is wanted; who is told without a time is told halfway."""
    assert only(requires_approval=written).approval == approval
    if isinstance(written, dict):
        of_type = only(type="approval", config=written)
        assert (of_type.approval, of_type.config) == (approval, {"x-note": 1} if "x-note" in written else {})


def test_a_node_says_no_to_the_gate_of_the_defaults() -> None:
    """``defaults`` gives every node a gate, but for those that say no, and for approvals, which are one."""
    nodes = [node("a"), node("b", requires_approval=False), node("c", type="approval", config={"expires": 1})]
    workflow, found = normalize(small(*nodes, defaults={"requires_approval": {"expires": "1h"}}))
    assert found == []
    assert workflow is not None
    gates = [each.approval for each in workflow.nodes]
    assert gates == [Approval(expires_ms=3_600_000), None, Approval(expires_ms=1_000)]


@pytest.mark.parametrize(
    ("config", "signal"),
    [
        ({"name": "paid"}, Signal(names=("paid",))),
        ({"name": "paid.now-1_A", "expires": "7d"}, Signal(names=("paid.now-1_A",), after_ms=604_800_000)),
        ({"first_of": [{"name": "a"}]}, Signal(names=("a",), is_choice=True)),
        (
            {"first_of": [{"name": "b"}, {"after": 2}, {"name": "a"}]},
            Signal(names=("b", "a"), after_ms=2_000, is_choice=True),
        ),
    ],
)
def test_a_signal_node_waits_for_names(config: Json, signal: Signal) -> None:
    """One name, or the first of several and a time, in the order of the document."""
    assert only(type="signal", config=config).signal == signal


def test_times_of_waiting_are_fields_of_nodes_and_defaults() -> None:
    """Waiting for a worker and for a sign of life have limits of their own."""
    nodes = [node("a"), node("b", queue_timeout=2, heartbeat_timeout="1ms")]
    defaults = {"queue_timeout": "1m", "heartbeat_timeout": "10s", "timeout": "1h"}
    workflow, found = normalize(small(*nodes, defaults=defaults))
    assert found == []
    assert workflow is not None
    times = [(each.timeout_ms, each.queue_timeout_ms, each.heartbeat_timeout_ms) for each in workflow.nodes]
    assert times == [(3_600_000, 60_000, 10_000), (3_600_000, 2_000, 1)]


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ({"retry_budget": 0}, Policy(retry_budget=0)),
        ({"budget": {"tokens": 5}}, Policy(budget=Budget(tokens=5))),
        ({"budget": {"cost": 1.5}}, Policy(budget=Budget(cost=1_500_000_000, currency="USD"))),
        (
            {"budget": {"cost": 0, "currency": "EUR", "tokens": 1, "on_exhausted": "park"}},
            Policy(budget=Budget(tokens=1, cost=0, currency="EUR", on_exhausted=OnExhausted.PARK)),
        ),
        ({"stuck": {"after": "10m"}}, Policy(stuck_ms=600_000)),
        ({"stuck": {"after": "10m", "action": "alert"}}, Policy(stuck_ms=600_000)),
        ({"stuck": {"after": 1, "action": "fail"}}, Policy(stuck_ms=1_000, fails_when_stuck=True)),
    ],
)
def test_the_policy_bounds_retries_and_standstill(written: Json, policy: Policy) -> None:
    """A run may have a budget of retries, and a time after which standing still is told or fails it."""
    workflow, found = normalize(small(node(), policy=written))
    assert found == []
    assert workflow is not None
    assert workflow.policy == policy


def test_routing_stands_on_any_node() -> None:
    """Rules on a node of any type route on its own output and imply edges."""
    workflow, found = normalize(
        small(node("a", rules=[{"when": True, "next": "b"}], default="c", mode="all"), node("b"), node("c"))
    )
    assert found == []
    assert workflow is not None
    assert workflow.nodes[0].routing == Routing(rules=(Rule(when="true", next=("b",)),), default=("c",), mode="all")
    assert [(edge.source, edge.target) for edge in workflow.edges] == [("a", "b"), ("a", "c")]


def test_literals_stand_for_themselves_where_an_expression_is_expected() -> None:
    """Numbers, booleans and null in a mapping become their CEL text."""
    assert only(input={"a": 1, "b": 0.5, "c": True, "d": None, "e": "x.y"}).input == {
        "a": "1", "b": "0.5", "c": "true", "d": "null", "e": "x.y",
    }  # fmt: skip
    assert only(when=False).when == "false"


@pytest.mark.parametrize(
    ("type", "config", "filled"),
    [
        ("function", {"handler": "a.b", "size": 3}, {"handler": "a.b", "size": 3}),
        ("echo", {"value": None}, {"value": None}),
        ("sleep", {"for": 0.5}, {"for": "500ms"}),
        ("sleep", {"for": "{{ input.pause }}"}, {"for": "{{ input.pause }}"}),
        ("wait", {"for": "90s"}, {"for": "90s"}),
        ("wait", {"until": "input.at"}, {"until": "input.at"}),
        ("transform", {}, {}),
        ("transform", {"mapping": {"a": "input.b", "n": 1}}, {"mapping": {"a": "input.b", "n": "1"}}),
        ("transform", {"expression": "input.b"}, {"expression": "input.b"}),
        ("filter", {"where": "item > 1"}, {"where": "item > 1"}),
        ("filter", {"items": "input.list", "where": "item.ok"}, {"items": "input.list", "where": "item.ok"}),
        ("noop", {"x-note": 1}, {"x-note": 1}),
        ("validate", {"schema": {"type": "object"}, "value": 1}, {"schema": {"type": "object"}, "value": "1"}),
        ("agent", {"model": "m", "max_turns": 3}, {"model": "m", "max_turns": 3}),
        (
            "http",
            {"method": "post", "expect": 404, "read_timeout": 1.5, "x-note": 1},
            {"method": "POST", "expect": ["404"], "read_timeout": "1500ms", "x-note": 1},
        ),
        ("http", {"expect": [200, "3XX"], "json": None}, {"expect": ["200", "3xx"], "json": None}),
    ],
)
def test_configs_are_checked_and_filled_in(type: str, config: Json, filled: Json) -> None:
    """The config of a type comes back in one spelling, with what was left out."""
    assert only(type=type, config=config).config == filled


def test_expressions_and_references_of_the_document_are_carried_as_they_are() -> None:
    """Nothing is compiled here: a broken expression is the analysis's to find."""
    assert only(when="this is (not CEL").when == "this is (not CEL"
