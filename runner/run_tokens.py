"""Run tokens: those of the run itself, its start and its closing."""

from __future__ import annotations

import msgspec

from ..sdk.events import ErrorInfo, Facts, encode_facts
from ..sdk.floor.calling import Word
from ..sdk.marking import rules
from ..sdk.marking.plan import start_ready
from ..sdk.marking.scopes import NODE_NAMES, parse_token_key, scope_key, token_key
from .transition import Transition, transition_of
from .work import Work


def start(work: Work) -> Transition:
    """Let the first tokens of a run out, unless it should have begun before."""
    position, _, expires = work.extra.partition("@")
    if expires and work.now_ms > int(expires):
        error = ErrorInfo(type="EXPIRED", message="the run was not started before it expired")
        drained: list[Word] = ["d", "expired", msgspec.json.encode(error), "0"]
        return transition_of(work, [(_said(work, "run.entered", reason="expired", error=error), None)], drained)
    effects, following = rules.start(work.plan.ir, int(position))
    words = work.plan.words(effects)
    if following >= 0:
        words += ["c", start_ready(following)]
    return transition_of(work, [(_said(work, "run.entered"), None)], words)


def close(work: Work) -> Transition:
    """Undo what was completed last, if anything is left."""
    top = work.values[0]
    if not top:
        return transition_of(work, [(_said(work, "run.compensated"), None)], [])
    number, scope = parse_token_key(top.decode())
    done = work.plan.ir.nodes[number]
    facts = encode_facts(Facts(type="compensation.started", node=done.id, scope=scope_key(scope)))
    compensation = token_key(done.compensate, scope)
    return transition_of(work, [(facts, None)], ["b", compensation, work.plan.ready(done.compensate, scope)])


def _said(work: Work, kind: str, *, reason: str = "", error: ErrorInfo | None = None) -> bytes:
    node, scope = NODE_NAMES[work.number], scope_key(work.scope)
    return encode_facts(Facts(type=kind, node=node, scope=scope, reason=reason, error=error))
