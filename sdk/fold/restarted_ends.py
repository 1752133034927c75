"""What becomes of a run that was ending at the cut: it goes on ending, and ends so. Pure.

A run that drains emits and parks nothing, and whoever meets one of its tokens takes it away: so all of them are put on
the floor, whatever they waited for. One that is undoing what it did goes on with that as any run goes on. One of which
nothing is left is only told how it ends.
"""

from __future__ import annotations

from ..marking.marking import GOES_ON, Marking, Place, RunPhase, Token, TokenKind
from ..marking.scopes import CLOSING_NODE, Scope

At = tuple[int, Scope]

TOLD = {RunPhase.DRAINING: "draining", RunPhase.COMPENSATING: "compensating"}
"""What ``run.restored`` says of a run that is ending; of any other one it says nothing."""
PHASES = {word: phase for phase, word in TOLD.items()}


def phase_after(before: Marking, tokens: dict[At, Token]) -> RunPhase:
    """Return the phase in which a run goes on with ``tokens``. A pause is over.

    Where nothing but the closing token is left it is its turn, whom a pause or a waker may have kept from it.
    """
    if not tokens:
        return RunPhase.DRAINING if before.reason else RunPhase.RUNNING
    closing = tokens.get((CLOSING_NODE, ()))
    if len(tokens) == 1 and closing is not None:
        closing.place = Place.FLOOR
        return RunPhase.COMPENSATING
    return RunPhase.RUNNING if before.phase in GOES_ON else before.phase


def met(token: Token) -> Token:
    """A token of a run that drains, where a worker meets it."""
    if token.kind is not TokenKind.CLOSING:
        token.place, token.due, token.waits, token.escalates = Place.FLOOR, 0, (), 0
    token.deliveries = 0
    return token


def last_error(before: Marking) -> bytes | None:
    """The error of a run whose output could not be made is found again: it is none that it goes on with."""
    return before.error if before.reason else None
