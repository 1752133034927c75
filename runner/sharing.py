"""Sharing: the events and the words of a step that asks for a mutex, a part of the budget, or what runs share."""

from __future__ import annotations

from typing import TypeAlias

from ..sdk.events import Facts, encode_facts
from ..sdk.floor.calling import Word
from ..sdk.fold.fold_waits import asked_budget, asked_slot, paced
from ..sdk.marking.marking import with_word
from ..sdk.marking.scopes import scope_key
from ..sdk.outcomes.outcomes import AsksBudget, AsksMutex, AsksPace, AsksSlot
from .work import Work

Asking: TypeAlias = AsksMutex | AsksSlot | AsksPace | AsksBudget
ASKING = (AsksMutex, AsksSlot, AsksPace, AsksBudget)
REASONS = {AsksMutex: "mutex", AsksSlot: "slot", AsksPace: "rate", AsksBudget: "budget"}


def asked(work: Work, outcome: Asking, worker: str) -> tuple[bytes, list[Word]]:
    """Return the event and the operation of a step that asks."""
    data: dict[str, object] = {}
    if isinstance(outcome, AsksBudget):
        data = {name: amount for name, amount in (("tokens", outcome.tokens), ("cost", outcome.cost)) if amount}
    elif not isinstance(outcome, AsksMutex):
        data = {"names": [outcome.name], "limit": outcome.limit}
        if isinstance(outcome, AsksSlot) and outcome.fair:
            data["fair"] = outcome.fair
        if isinstance(outcome, AsksPace):
            data["per_ms"] = outcome.per_ms
    facts = Facts(
        type="step.waiting",
        node=work.node.id,
        scope=scope_key(work.scope),
        attempt=work.attempt,
        worker=worker,
        reason=REASONS[type(outcome)],
        data=data,
    )
    if isinstance(outcome, AsksMutex):
        return encode_facts(facts), ["m", work.node.mutex, _ready(work, "")]
    if isinstance(outcome, AsksBudget):
        return encode_facts(facts), ["A", _ready(work, asked_budget(facts, work.deliveries))]
    if isinstance(outcome, AsksSlot):
        return encode_facts(facts), ["S", _ready(work, asked_slot(facts))]
    return encode_facts(facts), ["R", outcome.name, outcome.limit, outcome.per_ms, _ready(work, paced(facts))]


def _ready(work: Work, word: str) -> str:
    extra = with_word(work.lasting_extra, word) if word else work.lasting_extra
    return work.plan.parked_ready(work.number, work.scope, work.live, attempt=work.attempt, extra=extra)
