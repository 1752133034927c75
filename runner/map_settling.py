"""Settling maps: the events and the words of what a map, its own tokens and its aggregate do."""

from __future__ import annotations

from ..sdk.events import Facts, encode_facts
from ..sdk.floor.calling import Word
from ..sdk.marking import rules
from ..sdk.marking.marking import OPEN, lasting, with_word
from ..sdk.marking.plan import context_field
from ..sdk.marking.scopes import scope_key, token_key
from ..sdk.outcomes.early_signals import door_name
from ..sdk.outcomes.gathering import GONE_MAX, Collection
from ..sdk.outcomes.outcomes import Opened
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
    if outcome.early:
        data["early"] = outcome.early
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


def taken(work: Work, outcome: Opened) -> list[Word]:
    """The operation, first of all, that takes the signals whose items a map has now."""
    return ["T", door_name(work), " ".join(work.early[: outcome.early])] if outcome.early else []


def continued(work: Work) -> list[Word]:
    """The cursor of a map goes on."""
    return ["f", _map_key(work)]


def cleared(work: Work) -> list[Word]:
    """What is parked below a closed map is taken away."""
    return ["q", _map_key(work), *work.plan.maps.below(work.node)]


def collected(work: Work, collections: list[Collection]) -> tuple[list[tuple[bytes, bytes | None]], list[Word]]:
    """The results of each of these chunks are kept as one value, and nothing else of their items."""
    over = work.plan.ir.regions[work.node.map_region].node
    events: list[tuple[bytes, bytes | None]] = []
    words: list[Word] = []
    for number, content, gone in collections:
        data: dict[str, object] = {"chunk": number}
        if number != collections[-1].number:
            data["more"] = True
        facts = Facts(type="fanout.collected", node=work.node.id, scope=scope_key(work.scope), data=data)
        events.append((encode_facts(facts), content))
        words += ("o", context_field("r", over, (*work.scope, number)), content)
        for field in gone:
            words += ("-", field)
    return events, [*words, "g", _map_key(work), "+".join(str(each.number) for each in collections)]


def forgotten(work: Work) -> list[Word]:
    """What an aggregate takes away when it settles.

    Of results that the log has not told yet, no more than one call may take away: the recorder lets go of all that it
    comes to tell, now or later.
    """
    if work.results is None:
        return []
    left = work.results.left
    stays = {*[field for field in left if field.startswith("r")][GONE_MAX:]}
    return [word for field in left if field not in stays for word in ("-", field)]


def _map_key(work: Work) -> str:
    """The key of the map whose own token this is."""
    return token_key(work.plan.ir.regions[work.node.map_region].node, work.scope)
