"""Transitions: the words of one call of ``advance`` for one token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..sdk.events import encode_blob
from ..sdk.floor.calling import Word
from ..sdk.marking.purse import charge
from .work import Work

if TYPE_CHECKING:
    from .step_cache import Flight


class Transition(NamedTuple):
    """``words``: as advance takes them. ``writes``: about how many keys and entries it changes.

    ``otherwise``: what comes instead where what it builds on is not there any more: of another attempt, where the run's
    budget of retries is spent; of a map, where another token has taken its signals. ``flight``: told whether it was
    applied.
    """

    words: list[Word]
    writes: int
    otherwise: Transition | None = None
    flight: Flight | None = None


def transition_of(
    work: Work, events: list[tuple[bytes, bytes | None]], words: Sequence[Word], more_writes: int = 0
) -> Transition:
    """Return the transition of a token with the events of it, and the operations that come after closing its places."""
    if work.spent.calls and work.plan.has_purse:
        words = [*words, "$", *charge(work.plan.ir, work.spent)]
    closed = work.plan.closed_by(work.number, work.scope)
    head: list[Word] = [
        work.run_id,
        work.key,
        work.fence,
        work.stream,
        work.entry,
        len(events),
        encode_blob(events) if events else b"",
        len(closed) + len(words),
    ]
    head += [*closed, *words] if closed else words
    return Transition(head, 6 + len(words) // 2 + more_writes, flight=work.flight)
