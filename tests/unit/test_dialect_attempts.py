"""Attempts and approvals of every dialect become the same native fields.

``max_attempts`` and ``maxAttempts`` count every try, ``max_retries`` and ``retries`` do not count the first.
"""

from __future__ import annotations

from typing import Any

import pytest

from courante.compiler.diagnostics import Diagnostic
from courante.compiler.normalize import read_document
from courante.compiler.workflow import Approval, Node, Retry

MODEL = {"id": "a", "prompt": "p", "model": "m", "provider": "openai"}


def relay(task: dict[str, Any], **shared: Any) -> dict[str, Any]:
    return {"name": "x", "tasks": [{**MODEL, **task}], **({"config": shared} if shared else {})}


def sequence(step: dict[str, Any]) -> dict[str, Any]:
    return {"name": "x", "steps": [{"id": "a", "type": "llm", "promptUser": "p", **step}]}


def typed(step: dict[str, Any]) -> dict[str, Any]:
    return {"name": "x", "steps": [{"id": "a", "skill": "s", **step}]}


def graph(node: dict[str, Any]) -> dict[str, Any]:
    return {"name": "x", "edges": [], "nodes": [{"id": "a", "type": "function", **node}]}


def read(value: dict[str, Any]) -> tuple[Node | None, list[Diagnostic]]:
    found = read_document(value)
    return (found.workflow.nodes[0] if found.workflow is not None else None), found.diagnostics


FUNCTION = {"function": "f"}


@pytest.mark.parametrize(
    ("value", "retry"),
    [
        (relay({}), Retry()),
        (relay({"retry_policy": {"max_attempts": 3}}), Retry(max_attempts=3)),
        (relay({"retry_policy": {"max_retries": 3}}), Retry(max_attempts=4)),
        (relay({"max_retries": 2}), Retry(max_attempts=3)),
        (relay({"config": {"retry_policy": {"max_attempts": 7, "backoff_ms": 10}}}), Retry(max_attempts=7, base_ms=10)),
        (relay({}, retry_policy={"max_attempts": 6}), Retry(max_attempts=6)),
        (relay({"max_retries": 0}, retry_policy={"max_attempts": 6, "max_ms": 9_000}),
         Retry(max_attempts=1, base_ms=1_000, max_ms=9_000)),
        (relay({"retry_policy": {"max_attempts": 2}}, retry_policy={"max_retries": 6}), Retry(max_attempts=2)),
        (relay({"retry": {"max_attempts": 2}}, retry_policy={"max_attempts": 6}), Retry(max_attempts=2)),
        (relay({"retry_policy": {"backoff_ms": 5, "multiplier": 3, "max_ms": 50, "jitter": False, "on": ["429"]}}),
         Retry(base_ms=5, factor=3.0, max_ms=50, jitter=False, on=("429",))),
        (sequence({}), Retry()),
        (sequence({"max_retries": 3}), Retry(max_attempts=4)),
        (sequence({"retry_policy": {"max_retries": 3, "backoff_ms": 1}}), Retry(max_attempts=4, base_ms=1)),
        (sequence({"retry_policy": {"max_attempts": 3}}), Retry()),
        (sequence({"retry": {"max_attempts": 2}}), Retry(max_attempts=2)),
        (typed({}), Retry()),
        (typed({"retryPolicy": {"maxAttempts": 4, "backoffMs": 250}}), Retry(max_attempts=4, base_ms=250)),
        (graph({"config": {**FUNCTION, "retries": 2}}), Retry(max_attempts=3)),
        (graph({"config": FUNCTION, "max_retries": 3}), Retry(max_attempts=4)),
        (graph({"config": FUNCTION, "retry": {"max_attempts": 2, "backoff_ms": 1}}), Retry(max_attempts=2, base_ms=1)),
    ],
)  # fmt: skip
def test_attempts_mean_the_same_in_every_dialect(value: dict[str, Any], retry: Retry) -> None:
    """Every word for attempts and waiting becomes the native policy; a node's own count goes before a shared one."""
    node, found = read(value)
    assert found == []
    assert node is not None
    assert node.retry == retry


@pytest.mark.parametrize(
    ("value", "code", "path"),
    [
        (relay({"retry_policy": {"max_attempts": 2, "max_retries": 1}}), "conflicting_fields",
         ("tasks", 0, "max_retries")),
        (relay({"retry_policy": {"max_retries": -1}}), "out_of_range", ("tasks", 0, "max_retries")),
        (relay({"retry_policy": {"backoff_ms": "soon"}}), "bad_duration", ("tasks", 0, "retry_policy", "base")),
        (relay({"config": {"retry_policy": []}}), "wrong_type", ("tasks", 0, "config", "retry_policy")),
        (relay({}, retry_policy=1), "wrong_type", ("config", "retry_policy")),
        (sequence({"retry_policy": {"attempts": 1}}), "unknown_field", ("steps", 0, "retry_policy", "attempts")),
        (sequence({"retry_policy": {"max_attempts": 0}}), "out_of_range", ("steps", 0, "retry_policy", "max_attempts")),
        (typed({"retryPolicy": {"maxAttempts": 0}}), "out_of_range", ("steps", 0, "retryPolicy", "maxAttempts")),
    ],
)  # fmt: skip
def test_wrong_policies_are_shown_where_they_stand(
    value: dict[str, Any], code: str, path: tuple[str | int, ...]
) -> None:
    """A fault of a policy is told at its place in the document that was given."""
    _, found = read(value)
    assert [(one.code, one.path) for one in found] == [(code, path)]


@pytest.mark.parametrize(
    ("value", "approval"),
    [
        (relay({"requires_approval": True}), Approval()),
        (relay({"requires_approval": False}), None),
        (relay({"requires_approval": {"expires": "2d"}}), Approval(expires_ms=172_800_000)),
        (relay({"type": "approval", "config": {"form": {"type": "object"}}}), Approval(form={"type": "object"})),
        (sequence({"requires_approval": True}), Approval()),
        (sequence({"requires_approval": {"expires": 1, "escalate_to": "lead"}}),
         Approval(expires_ms=1_000, escalate_to="lead", escalate_ms=500)),
        (typed({"requiresApproval": True}), Approval()),
        (graph({"config": FUNCTION, "requires_approval": True}), Approval()),
        (graph({"type": "approval", "config": {"expires": 2}}), Approval(expires_ms=2_000)),
    ],
)  # fmt: skip
def test_approvals_mean_the_same_in_every_dialect(value: dict[str, Any], approval: Approval | None) -> None:
    """A gate is a word or an object, wherever the dialect has it."""
    if value.get("tasks") and value["tasks"][0].get("type") == "approval":
        value["tasks"][0] = {name: value["tasks"][0][name] for name in ("id", "type", "config")}
    node, found = read(value)
    assert found == []
    assert node is not None
    assert node.approval == approval


def test_a_task_takes_over_the_gate_and_the_policy_that_it_extends() -> None:
    """``extends`` of Relay covers approvals and attempts."""
    base = {**MODEL, "requires_approval": {"expires": "1h"}, "retry_policy": {"max_retries": 1}}
    found = read_document({"name": "x", "tasks": [base, {"id": "b", "extends": "a"}]})
    assert found.diagnostics == []
    assert found.workflow is not None
    one, other = found.workflow.nodes
    assert (
        (other.approval, other.retry)
        == (one.approval, one.retry)
        == (Approval(expires_ms=3_600_000), Retry(max_attempts=2))
    )
