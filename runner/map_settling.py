"""Settling maps: the events and the words of what a map, its own tokens and its aggregate do."""

from __future__ import annotations

from ..sdk import rules
from ..sdk.calling import Word
from ..sdk.events import Facts, encode_facts
from ..sdk.marking import OPEN, TokenKind, lasting, with_word
from ..sdk.outcomes import Opened
from ..sdk.plan import context_field
from ..sdk.scopes import scope_key, token_key
from .work import Work


def opened(work: Work, outcome: Opened, worker: str) -> tuple[bytes, list[Word]]:
    """A map has items: at first, more of them, or the last. With ``more`` its token waits for others."""
    number, scope, plan = work.number, work.scope, work.plan
    is_open, was_open = outcome.more is not None, work.own_output is not None
    effects: list[rules.Effect] = [] if is_open else rules.succeeded(plan.ir, number, scope)
    if was_open:
        effects.append(rules.Items(number, scope, outcome.count, is_open))
    else:
        effects += rules.opened(plan.ir, number, scope, outcome.count, is_open=is_open)
    words: list[Word] = ["o", context_field("o", number, scope), outcome.output, *plan.words(effects)]
    data: dict[str, object] = {"items": outcome.count}
    if outcome.refused:
        data["refused"] = outcome.refused
    if outcome.more is not None:
        name, expires_ms = outcome.more
        data["names"] = [name]
        if expires_ms is not None:
            data["expires"] = True
        extra = lasting(work.extra) if OPEN in work.extra.split("+") else with_word(lasting(work.extra), OPEN)
        ready = plan.parked_ready(number, scope, work.live, attempt=work.attempt, extra=extra, brings_value=True)
        words += ("w", name, "" if expires_ms is None else f"+{expires_ms}", "", ready)
    facts = Facts(
        type="step.waiting" if is_open else "step.succeeded",
        node=work.node.id,
        scope=scope_key(scope),
        attempt=work.attempt,
        worker=worker,
        reason="more" if is_open else "",
        data=data,
    )
    return encode_facts(facts), words


def continued(work: Work) -> list[Word]:
    """The cursor of a map goes on."""
    return ["f", _map_key(work)]


def cleared(work: Work) -> list[Word]:
    """What is parked below a closed map is taken away."""
    return ["q", _map_key(work), *work.plan.maps.below(work.node)]


def collected(work: Work, number: int, content: bytes) -> tuple[bytes, list[Word]]:
    """The results of a chunk are kept as one value, and nothing else of its items."""
    plan, over = work.plan, work.plan.ir.regions[work.node.map_region]
    facts = Facts(type="fanout.collected", node=work.node.id, scope=scope_key(work.scope), data={"chunk": number})
    words: list[Word] = ["o", context_field("r", over.node, (*work.scope, number)), content]
    for field in plan.maps.chunk_fields(over.node, work.scope, number, plan.is_read):
        words += ("-", field)
    return encode_facts(facts), [*words, "g", _map_key(work), number]


def forgotten(work: Work) -> list[str]:
    """What an aggregate takes away when it settles."""
    if work.kind is not TokenKind.NORMAL or not work.live:
        return []
    over = work.plan.ir.regions[work.node.map_region].node
    return work.plan.words([rules.Forget(over, work.scope, work.live)])


def _map_key(work: Work) -> str:
    """The key of the map whose own token this is."""
    return token_key(work.plan.ir.regions[work.node.map_region].node, work.scope)
