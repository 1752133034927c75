"""The fold of what waits and of what comes from outside: releases, commands, mutexes, compensation. Pure.

Each function takes the marking and one event, changes the marking and returns the codes that must follow. Raises
``Corrupt`` where the event contradicts the state.
"""

from __future__ import annotations

from typing import TypeAlias

from ...compiler.ir import Ir
from ..corrupt import Corrupt
from ..events import Facts, RecordedEvent
from ..marking import waiting
from ..marking.marking import APPROVED, GOES_ON, PARKS, WOKEN, Marking, Place, Token, TokenKind, lasting, with_word
from ..marking.purse import Amount, Purse, charge, wants
from ..marking.rules import parked, reaches_milestones
from ..marking.scopes import CLOSING_NODE, Scope, scope_key, token_key
from ..marking.slot_words import ASKS, PACED, without_slot
from ..spending.spent import SPENT, kept_spent
from . import fold_maps
from .emptied import value_in

At: TypeAlias = tuple[int, Scope]

SIGNALS = frozenset({"signal", "approve", "reject", "complete", "fail", "child_ended"})
"""Commands that are signals by name."""
GRANTED = "budget.granted"
FORCES = frozenset({"force_succeed", "force_skip"})


def step_waiting(ir: Ir, marking: Marking, at: At, token: Token, event: RecordedEvent) -> list[str]:
    """A node parks its own token, for a time, signals or a mutex."""
    facts, node = event.facts, ir.nodes[at[0]]
    marking.values.pop(at, None)
    if facts.reason == "budget":
        waiting.ask_budget(marking, at, asked_budget(facts, token.deliveries))
        return []
    token.deliveries = 0
    if facts.reason == "mutex":
        return waiting.ask_mutex(marking, at, node.mutex)
    if facts.reason == "slot":
        waiting.ask_slot(marking, at, asked_slot(facts))
        return []
    codes: list[str] = []
    if facts.reason == "more":
        codes += fold_maps.door_waits(ir, marking, at, event)
    if reaches_milestones(node, facts.reason):
        codes += marking.apply(ir, parked(ir, *at))
    timer = f"P{at[0]}:{facts.scope}:"
    if facts.reason in ("timer", "rate"):
        token.extra = with_word(lasting(token.extra), WOKEN if facts.reason == "timer" else paced(facts))
        token.place = Place.TIMER
        marking.leave(at)
        return [*codes, timer]
    codes += waiting.wait_for_signals(marking, at, names_of(facts))
    if token.place is Place.SIGNAL:
        if node.approval is not None and facts.reason == "approval" and node.approval.escalate_ms is not None:
            token.escalates = event.at_ms + node.approval.escalate_ms
        if facts.data.get("expires"):
            codes.append(timer)
    return codes


def asked_slot(facts: Facts) -> str:
    """The word of a token that waits for a slot of a concurrency key."""
    (name,) = names_of(facts)
    return f"{ASKS}{name}.{facts.data.get('limit')}.{facts.data.get('fair', '')}"


def asked_budget(facts: Facts, deliveries: int) -> str:
    """The word of a token that asks for a part of the budget. deliveries: of the token."""
    tokens, cost = (facts.data.get(name, 0) for name in ("tokens", "cost"))
    if not isinstance(tokens, int) or not isinstance(cost, int):
        raise Corrupt("it asks for nothing")
    return wants(Amount(tokens, cost, deliveries))


def answered(marking: Marking, at: At, facts: Facts) -> None:
    """Those that wait for a part of the budget are answered in their order."""
    token, purse = marking.tokens.get(at), marking.purse
    if token is None or token.place is not Place.BUDGET or purse is None:
        raise Corrupt("no token waits there for a part of the budget")
    if next(iter(purse.waiting)) != at:
        raise Corrupt("it is not its turn")
    waiting.answer_budget(marking, at, is_granted=facts.type == GRANTED)


def charge_purse(ir: Ir, purse: Purse, facts: Facts) -> None:
    """What an event tells of calls is spent."""
    if SPENT in facts.data:
        purse.spend(*charge(ir, kept_spent(facts.data)))


def budget_raised(marking: Marking, facts: Facts) -> list[str]:
    """A command has raised the budget. ``N``: there is none, or the run ends."""
    tokens, cost = (facts.data.get(name, 0) for name in ("tokens", "cost"))
    if marking.purse is None or not _parks(marking) or not isinstance(tokens, int) or not isinstance(cost, int):
        return ["N"]
    marking.purse.enlarge(tokens, cost)
    return []


def paced(facts: Facts) -> str:
    """The word of a token that has asked for its turn by a rate, with the rate, so that this can be restored."""
    (name,) = names_of(facts)
    per_ms = facts.data.get("per_ms")
    return PACED if per_ms is None else f"{PACED}={name}.{per_ms}"


def slot_granted(marking: Marking, at: At) -> None:
    token = marking.tokens.get(at)
    if token is None or token.place is not Place.SLOT:
        raise Corrupt("no token waits there for a slot")
    waiting.grant_slot(marking, at)


def names_of(facts: Facts) -> tuple[str, ...]:
    """The names of signals that a step waits for."""
    names = facts.data.get("names")
    if not isinstance(names, list) or not names:
        raise Corrupt("it waits for nothing")
    return tuple(map(str, names))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON


def approval_escalated(token: Token) -> None:
    if token.place is not Place.SIGNAL or not token.escalates:
        raise Corrupt("nobody waits there for a decision")
    token.escalates = 0


def approval_granted(token: Token) -> None:
    token.extra = with_word(lasting(token.extra), APPROVED)


def step_retried(marking: Marking, at: At, token: Token, facts: Facts) -> list[str]:
    """The attempt failed, and another follows after the backoff."""
    if facts.attempt != token.attempt:
        raise Corrupt(f"attempt {facts.attempt} failed where attempt {token.attempt} is made")
    marking.values.pop(at, None)
    marking.retries += 1
    token.attempt += 1
    token.deliveries = 0
    token.extra = without_slot(lasting(token.extra))
    token.place = Place.TIMER
    marking.leave(at)
    return [f"P{at[0]}:{facts.scope}:"]


def timer_released(marking: Marking, at: At) -> None:
    token = marking.tokens.get(at)
    if token is None or token.place is not Place.TIMER:
        raise Corrupt("no token is parked there")
    token.place, token.due = Place.FLOOR, 0
    marking.land(at)


def token_released(marking: Marking, at: At, facts: Facts) -> None:
    """The timer of a wait has come; any other release follows from what came before it."""
    token = marking.tokens.get(at)
    if token is None or token.place is not Place.SIGNAL or not token.due:
        raise Corrupt("no token waits there for a limited time")
    if facts.reason != "expired":
        raise Corrupt(f"nothing releases it by {facts.reason!r}")
    waiting.expire_wait(marking, at)


def compensation_started(ir: Ir, marking: Marking, at: At) -> None:
    """What was done last is undone first."""
    closing = _closing(marking)
    if not marking.completed or marking.completed[-1] != at:
        raise Corrupt(f"it is not the turn of {token_key(*at)} to be undone")
    marking.completed.pop()
    marking.put(ir.nodes[at[0]].compensate, at[1], Token())
    closing.place, closing.deliveries = Place.HELD, 0


def run_compensated(marking: Marking) -> None:
    _closing(marking)
    if marking.completed:
        raise Corrupt("not everything is undone")
    marking.take(CLOSING_NODE, ())


def _closing(marking: Marking) -> Token:
    closing = marking.tokens.get((CLOSING_NODE, ()))
    if closing is None or closing.place is not Place.FLOOR:
        raise Corrupt("it is not the turn of the closing token")
    return closing


def command_applied(ir: Ir, marking: Marking, at: At, event: RecordedEvent) -> list[str]:
    """``at``: the place that it is about, if any."""
    data = event.facts.data
    number, kind = data.get("number"), data.get("type")
    if number != marking.command + 1:
        raise Corrupt(f"command {number} follows command {marking.command}")
    marking.command += 1
    value = value_in(event)
    if kind in SIGNALS:
        return _signal(marking, at if event.facts.node else None, event.facts, value)
    if kind in FORCES:
        return waiting.force(marking, at, value) if _parks(marking) else ["N"]
    if kind == "cancel_step":
        return (marking.phase in GOES_ON and marking.withdraw(*at)) or ["N"]
    if kind == "pause":
        return waiting.pause(marking)
    if kind == "resume":
        return waiting.resume(marking)
    if kind == "raise_budget":
        return budget_raised(marking, event.facts)
    if kind == "cancel":
        return drain(ir, marking, "cancelled")
    raise Corrupt(f"there is no command {kind!r}")


def _signal(marking: Marking, at: At | None, facts: Facts, value: bytes) -> list[str]:
    """``at``: the token that it is about; None for a signal of a document, which any may wait for."""
    name = str(facts.data.get("name"))
    if not _parks(marking):
        return ["N"]
    if at is not None and waiting.is_late(marking, at, name, is_asked=bool(facts.data.get("asked"))):
        return ["N"]
    return waiting.signal(marking, name, marking.command, value)


def drain(ir: Ir, marking: Marking, reason: str) -> list[str]:
    """A command or a limit ends the run. ``N``: it ends already."""
    if marking.phase not in GOES_ON:
        return ["N"]
    marking.drain(ir, reason)
    return [f"X{reason}"]


def _parks(marking: Marking) -> bool:
    return marking.phase in PARKS


def token_claimed(token: Token, facts: Facts) -> None:
    deliveries = facts.data.get("deliveries")
    if token.kind is TokenKind.CLOSING and token.place is Place.HELD:
        raise Corrupt("a held token is in nobody's hands")
    token.deliveries = deliveries if isinstance(deliveries, int) else token.deliveries + 1


def code_of(letter: str, at: At, extra: str = "") -> str:
    return f"{letter}{at[0]}:{scope_key(at[1])}{extra}"
