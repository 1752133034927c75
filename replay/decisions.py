"""Decisions, made again: every ``when``, gate, rule, edge condition, loop condition and list of items, from what was
logged before.

A step's event claims that it ran, waited or was skipped, and where its edges went. ``claim_of`` collects what that was
decided on, ``check_claim`` decides again with the functions that the worker uses. No handler is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..compiler.ir import Node, ReadKind, signals_of
from ..sdk.events import Facts, RecordedEvent
from ..sdk.marking.marking import FORCED, OPEN, TokenKind
from ..sdk.marking.rules import taken
from ..sdk.marking.scopes import Scope, token_key
from ..sdk.outcomes.map_openings import open_map
from ..sdk.outcomes.node_code import Codes, NodeCode
from ..sdk.outcomes.routing import iteration, loop_word, route
from ..sdk.outcomes.step_context import StepContext, StepError, decode_json
from .gate_checks import DECIDED, UNDECIDED, WAITING_RECORD, check_decided, check_gate, gate_extra, shown
from .history import Emptied, History, Place

CLAIMS = DECIDED | {"step.succeeded", "step.skipped", "step.waiting", "step.failed", "step.retried"}


class Disagreement(NamedTuple):
    """``what``: when, gate, approval, items, edges or loop. ``expected``: by re-evaluation; ``found``: in the log."""

    what: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one event says was decided. ``moments``: the context values as they may have been read, likeliest first,
    each with what its release has brought behind them. ``extra``: of its token.
    """

    run_id: str
    number: int
    scope: Scope
    live: str
    extra: str
    facts: Facts
    moments: list[list[bytes | None]]
    output: bytes | None


def claim_of(history: History, codes: Codes, event: RecordedEvent) -> Claim | None:
    """Return what the event claims, before it is applied; None where nothing was decided. Raises Emptied."""
    facts = event.facts
    place = history.place(facts) if facts.type in CLAIMS else None
    token = None if place is None else history.marking.tokens.get(place)
    if place is None or token is None or token.kind is not TokenKind.NORMAL:
        return None
    code, node = codes.of(place[0]), history.plan.ir.nodes[place[0]]
    extra = gate_extra(node, token.extra, place in history.marking.values)
    is_open = code.when is None and not code.is_gated and not extra and not node.is_map
    if is_open and node.loop is None and not (code.routes or facts.edges or facts.loop):
        return None
    if facts.type == "step.succeeded" and code.routes and event.payload is None:
        raise Emptied(f"the output of event {event.seq}")
    fields = history.plan.reads(*place, token.live)
    uptos = history.moments(place, fields)
    if node.is_map and OPEN in token.extra.split("+"):
        uptos = uptos[:1]  # what it has said before is its own, and needs nothing else
    early = _early(history, node, facts)
    moments = [[*_seen(history, node, place, fields, upto), *early] for upto in uptos]
    return Claim(
        run_id=event.run_id,
        number=place[0],
        scope=place[1],
        live=token.live,
        extra=extra,
        facts=facts,
        moments=moments,
        output=event.payload,
    )


def _seen(history: History, node: Node, place: Place, fields: list[str], upto: int) -> list[bytes | None]:
    """The values that a token was given. Raises Emptied.

    Where another token was at that time the log cannot tell: it counts as waiting (``gate_checks`` allows either).
    """
    values = history.values(fields, upto)
    for number, read in enumerate(node.reads):
        if read.kind is ReadKind.TOKEN:
            values[number] = WAITING_RECORD
    released = history.released(place)
    return values if released is None else [*values, released]


def _early(history: History, node: Node, facts: Facts) -> list[bytes]:
    """The values of the signals that a map says to have taken with the one that released it. Raises Emptied."""
    count = facts.data.get("early")
    return history.early("".join(signals_of(node)), count) if node.is_map and isinstance(count, int) else []


def check_claim(codes: Codes, claim: Claim) -> Disagreement | None:
    """Decide again. Returns how the log disagrees, by the likeliest moment; None where it agrees in any of them.

    The values of the claim must be no references.
    """
    first: Disagreement | None = None
    for values in claim.moments:
        found = _check(codes, claim, values)
        if found is None:
            return None
        first = first or found
    return first


def _check(codes: Codes, claim: Claim, values: list[bytes | None]) -> Disagreement | None:
    code = codes.of(claim.number)
    step = StepContext(
        run_id=claim.run_id,
        plan=codes.plan,
        number=claim.number,
        scope=claim.scope,
        live=claim.live,
        values=values,
        code=code,
        key=token_key(claim.number, claim.scope),
        extra=claim.extra,
    )
    facts = claim.facts
    if facts.type in DECIDED:
        told = check_decided(step, facts)
        return None if told is None else Disagreement("approval", *told)
    error = facts.error.type if facts.error is not None else ""
    if code.when is not None and not claim.extra and error not in UNDECIDED:
        ran = _runs(step, code)
        said = "skipped" if (facts.type, facts.reason) == ("step.skipped", "condition_false") else "run"
        if ran != said:
            return Disagreement("when", ran, said)
    if code.is_gated or claim.extra:
        told = check_gate(step, facts, claim.output)
        if told is not None:
            return Disagreement("gate", *told)
    if step.node.is_map and claim.output is not None and step.word != FORCED:
        wrong = _check_items(step, facts, claim.output)
        if wrong is not None:
            return wrong
    if facts.type == "step.succeeded":
        return _check_route(step, code, claim)
    if error == "LOOP_EXHAUSTED" and step.node.loop is not None and iteration(step) < step.node.loop.max_iterations:
        return Disagreement("loop", f"iteration {iteration(step)} of {step.node.loop.max_iterations}", "exhausted")
    return None


def _runs(step: StepContext, code: NodeCode) -> str:
    assert code.when is not None
    try:
        verdict = step.evaluate(code.when)
    except StepError as error:
        return f"{error.type}: {error}"
    return "run" if verdict is True else "skipped" if verdict is False else f"failed: {verdict!r}"


def _check_items(step: StepContext, facts: Facts, output: bytes) -> Disagreement | None:
    """The items that a map has opened with, made again."""
    said = f"{facts.data.get('items')}: {shown(output)}"
    try:
        opened = open_map(step)
    except StepError as error:
        return Disagreement("items", f"{error.type}: {error}", said)
    told = (facts.data.get("items"), facts.data.get("early", 0), output)
    if (opened.count, opened.early, opened.output) == told:
        return None
    return Disagreement("items", f"{opened.count}: {shown(opened.output)}", said)


def _check_route(step: StepContext, code: NodeCode, claim: Claim) -> Disagreement | None:
    node, edges = step.node, step.plan.ir.edges
    decision = taken(node, edges)
    if code.routes:
        assert claim.output is not None
        try:
            decision = route(step, decode_json(claim.output))
        except StepError as error:
            return Disagreement("edges", f"{error.type}: {error}", edges_text(node, code, claim.facts.edges))
    said = claim.facts.edges or taken(node, edges)
    if decision != said:
        return Disagreement("edges", edges_text(node, code, decision), edges_text(node, code, said))
    word = loop_word(node, edges, decision)
    return None if word == claim.facts.loop else Disagreement("loop", word, claim.facts.loop)


def edges_text(node: Node, code: NodeCode, decision: str) -> str:
    """Return a decision as people read it: ``a live, b dead; loop back``."""
    words = {"l": "live", "d": "dead", "f": "failed", "-": "open"}
    ways = [f"{target} {words.get(letter, letter)}" for target, letter in zip(code.targets, decision, strict=False)]
    loop = {"b": "back", "x": "ends"}.get(decision[len(node.outs) :], "")
    return "; ".join(part for part in (", ".join(ways), f"loop {loop}" if loop else "") if part)
