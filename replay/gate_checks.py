"""Gates, passed again: whether a step waited, went on or ended as what had come by then says.

The worker's own gates (``sdk.outcomes.gates``) are asked; a decision that nobody made, a signal that never came or a
step that ran without either does not fit. No handler is called.
"""

from __future__ import annotations

from ..compiler.ir import Node
from ..sdk.events import Facts
from ..sdk.marking.marking import APPROVED, Place
from ..sdk.outcomes.gates import APPROVAL, before_node
from ..sdk.outcomes.outcomes import AsksMutex, AsksPace, AsksSlot, Outcome, Skipped, Succeeded, Waits
from ..sdk.outcomes.step_context import StepContext, StepError
from ..sdk.sealing.sealing import open_sayings

DECIDED = frozenset({"approval.granted", "approval.rejected"})
UNDECIDED = frozenset({"EXPRESSION_ERROR", "PAYLOAD_MISSING", "POISONED", "LEASE_LOST"})
"""A step that failed so may have failed before its gates, or in them: nothing was decided."""
WAITING_RECORD = f"0|{Place.SIGNAL}|0|".encode()
"""The record of a token that waits, as a milestone reads it."""
_ROUTING = frozenset({"NO_ROUTE", "LOOP_EXHAUSTED", "EXPRESSION_ERROR", "PAYLOAD_TOO_LARGE"})
"""How a step fails on the output that was given to it."""
_OWN_WAITS = frozenset({"timer", "outside", "more", "child", "budget"})
"""What a node that runs may wait for by itself."""


def gate_extra(node: Node, extra: str, has_value: bool) -> str:
    """Return what had happened to the token when it met its gates.

    An approval node says that it was approved and succeeds in one transition: by then the log has the first of these.
    """
    words = extra.split("+")
    if node.type != APPROVAL or APPROVED not in words or not has_value:
        return extra
    return "+".join([*(word for word in words if word != APPROVED), "s0"])


def check_decided(step: StepContext, facts: Facts) -> tuple[str, str] | None:
    """Whether somebody has decided so: (expected, found) where nobody has."""
    found = _decision(facts.type, open_sayings(facts.data))
    if step.node.approval is None or APPROVED in step.extra.split("+") or step.word != "s0":
        return "no decision", found
    value = step.released_value
    said: dict[str, object] = value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType] - JSON
    kind = "approval.granted" if said.get("decision") == "approve" else "approval.rejected"
    expected = _decision(kind, {name: said[name] for name in ("by", "comment", "reason") if said.get(name)})
    return None if expected == found else (expected, found)


def check_gate(step: StepContext, facts: Facts, output: bytes | None) -> tuple[str, str] | None:
    """Whether the step did what its gates say: (expected, found) where it did not."""
    error = facts.error.type if facts.error is not None else ""
    if error in UNDECIDED or (step.node.waits_while >= 0 and facts.reason == "milestone_passed"):
        return None
    found = _said(facts, error)
    try:
        outcome = before_node(step)
    except StepError as failure:
        expected = f"failed, {failure.type}"
        return None if expected == found else (expected, found)
    if outcome is None:
        is_own = facts.type != "step.skipped" and (facts.type != "step.waiting" or facts.reason in _OWN_WAITS)
        return None if is_own else ("runs", found)
    if isinstance(outcome, Succeeded):
        if facts.type == "step.succeeded":
            return None if output in (None, outcome.output) else (shown(outcome.output), shown(output))
        return None if error in _ROUTING else ("succeeded", found)
    expected = _expected(outcome)
    return None if expected == found else (expected, found)


def _expected(outcome: Outcome) -> str:
    match outcome:
        case Waits(reason, names):
            return f"waits for {reason}: {', '.join(names)}"
        case AsksMutex():
            return "waits for mutex"
        case AsksSlot(name):
            return f"waits for slot: {name}"
        case AsksPace(name):
            return f"waits for rate: {name}"
        case Skipped(reason):
            return f"skipped, {reason}"
        case _:
            raise AssertionError("a gate does nothing else")


def _said(facts: Facts, error: str) -> str:
    if facts.type == "step.waiting":
        names = facts.data.get("names")
        listed = f": {', '.join(map(str, names))}" if isinstance(names, list) else ""  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON
        return f"waits for {facts.reason}{listed}"
    if facts.type == "step.skipped":
        return f"skipped, {facts.reason}"
    return "succeeded" if facts.type == "step.succeeded" else f"failed, {error}"


def _decision(kind: str, data: dict[str, object]) -> str:
    words = ", ".join(f"{name} {data[name]}" for name in sorted(data))
    return f"{kind}: {words}" if words else kind


def shown(content: bytes | None) -> str:
    return "nothing" if content is None else content[:200].decode(errors="replace")
