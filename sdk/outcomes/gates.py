"""Gates: what must be there before a node runs: a true ``when``, a milestone, a person's word, a signal, a mutex, a
slot, its turn.

Also what outsiders have said about a token: that it is done, or failed; and what became of its child run. Pure: looks
at the step, never waits. The replay asks the same of what the log says.
"""

from __future__ import annotations

import hashlib
from typing import Any, cast

import msgspec

from ...compiler.cel import Expression
from ...compiler.subflows import SUBFLOW
from ...compiler.workflow import Approval, Signal
from ..marking.marking import APPROVED, EXPIRED, FORCED, HOLDS, OVERDUE, Place
from ..marking.slot_words import slot_of
from ..signal_names import approval_name
from .outcomes import AsksMutex, AsksPace, AsksSlot, Outcome, Skipped, Succeeded, Waits
from .step_context import StepContext, StepError, encode_json
from .subflows import hear_child

APPROVAL = "approval"


def before_node(step: StepContext) -> Outcome | None:
    """Return what becomes of the token without running its node, None where it may run. Raises StepError."""
    code, node = step.code, step.node
    assert code is not None
    if node.is_map and step.own_output is not None:
        return None
    if not step.extra:
        if code.when is not None and not _holds(step):
            return Skipped()
        if not code.is_gated:
            return None
    word = step.word
    if word == FORCED:
        return _said(step)
    if word == OVERDUE:
        raise StepError("QUEUE_TIMEOUT", f"no worker has taken it within {node.queue_timeout_ms} ms")
    if node.waits_while >= 0 and not _is_waiting(step):
        return Skipped("milestone_passed")
    has_approval = APPROVED in step.extra.split("+")
    if node.approval is not None and not has_approval:
        outcome = _ask(step, node.approval, word)
        if outcome is not None or node.type == APPROVAL:
            return outcome
        word = ""
    if node.signal is not None:
        return _hear(step, node.signal, word)
    if node.mutex and HOLDS not in step.extra.split("+"):
        return AsksMutex()
    if node.concurrency is not None and not slot_of(step.extra):
        fair = "" if code.fair is None else name_of(step.evaluate(code.fair), "fair")
        return AsksSlot(name_of(step.evaluate(_there(code.share)), "concurrency"), node.concurrency.limit, fair)
    if node.rate_limit is not None and not word:
        pace = node.rate_limit
        return AsksPace(name_of(step.evaluate(_there(code.pace)), "rate_limit"), pace.limit, pace.per_ms)
    if node.type == SUBFLOW:
        return hear_child(step, word)
    if word == EXPIRED:
        raise StepError("TIMEOUT", f"nobody has completed it within {node.timeout_ms} ms")
    return _said(step) if word == "s0" else None


def _there(expression: Expression | None) -> Expression:
    assert expression is not None
    return expression


def name_of(key: object, field: str) -> str:
    """Return the name of a key in Redis: BLAKE2b of its text, 16 bytes as hex. Raises StepError."""
    if not isinstance(key, str | int | float):
        raise StepError("EXPRESSION_ERROR", f"the key of '{field}' is a text, a number or a boolean")
    return hashlib.blake2b(encode_json(key), digest_size=16).hexdigest()


def _holds(step: StepContext) -> bool:
    assert step.code is not None
    assert step.code.when is not None
    verdict = step.evaluate(step.code.when)
    if not isinstance(verdict, bool):
        raise StepError("EXPRESSION_ERROR", f"'when' gives true or false (in {step.code.when.source!r})")
    return verdict


def _is_waiting(step: StepContext) -> bool:
    """Whether the node that this one runs beside is parked now: its record came with the token."""
    record = step.token_record(step.node.waits_while)
    return record is not None and record.split(b"|", 2)[1].decode() in (Place.SIGNAL, Place.TIMER)


def _ask(step: StepContext, approval: Approval, word: str) -> Outcome | None:
    if not word:
        return Waits(APPROVAL, (approval_name(step.key),), approval.expires_ms, approval.escalate_ms)
    if word == EXPIRED:
        raise StepError("APPROVAL_EXPIRED", f"nobody has decided within {approval.expires_ms} ms")
    decision = cast("dict[str, object]", step.released_value)
    step.decision = decision
    if decision.get("decision") != "approve":
        by, reason = decision.get("by"), decision.get("reason")
        raise StepError("REJECTED", f"rejected{f' by {by}' if by else ''}{f': {reason}' if reason else ''}")
    if step.node.type == APPROVAL:
        said = {name: decision.get(name) for name in ("decision", "by", "comment", "data")}
        return Succeeded(encode_json(said))
    return None


def _hear(step: StepContext, signal: Signal, word: str) -> Outcome:
    if not word:
        return Waits("signal", signal.names, signal.after_ms)
    if word == EXPIRED:
        if not signal.is_choice:
            raise StepError("SIGNAL_EXPIRED", f"no signal {signal.names[0]!r} has come within {signal.after_ms} ms")
        return Succeeded(encode_json({"event": "after", "data": None}))
    data = step.released_value
    return Succeeded(encode_json({"event": signal.names[int(word[1:])], "data": data} if signal.is_choice else data))


class Verdict(msgspec.Struct, frozen=True):
    """What someone outside says about a step. ``outcome``: succeeded, failed or skipped."""

    outcome: str
    output: Any = None
    error: str = ""
    reason: str = ""
    by: str = ""


def _said(step: StepContext) -> Outcome:
    verdict = msgspec.convert(step.released_value, Verdict)
    if verdict.outcome == "succeeded":
        return Succeeded(encode_json(verdict.output))
    if verdict.outcome == "skipped":
        return Skipped("forced")
    raise StepError("FAILED_OUTSIDE", verdict.error or verdict.reason or "someone outside says that it has failed")
