"""Waiting: tokens that are parked until somebody releases them, and what outsiders do to tokens. Pure.

The twin of lua/includes/signals.lua, slots.lua and redirects.lua: functions that change a ``Marking`` and return the
codes of what they caused, in the same order.
"""

from __future__ import annotations

from ..corrupt import Corrupt
from .marking import (
    EXPIRED,
    FORCED,
    HOLDS,
    OVERDUE,
    PARKS,
    Marking,
    Mutex,
    Place,
    RunPhase,
    Token,
    TokenKind,
    lasting,
    with_word,
)
from .purse import granted, refused
from .scopes import WAKER_NODE, Scope, scope_key, token_key
from .slot_words import ASKS, SLOT

SIGNALS_MAX = 1_000
"""Early signals of one name that a run keeps; one more is ignored."""

At = tuple[int, Scope]


def wait_for_signals(marking: Marking, at: At, names: tuple[str, ...]) -> list[str]:
    """Park a token until one of ``names`` comes. What came early, the earliest of all, releases it at once."""
    token = marking.tokens[at]
    token.extra = lasting(token.extra)
    early = [(marking.signals[name][0][0], index) for index, name in enumerate(names) if name in marking.signals]
    if early:
        _, index = min(early)
        kept = marking.signals[names[index]]
        _, marking.values[at] = kept.pop(0)
        if not kept:
            del marking.signals[names[index]]
        return _release(marking, at, f"s{index}")
    token.place, token.waits = Place.SIGNAL, names
    marking.leave(at)
    for name in names:
        marking.waiting.setdefault(name, []).append(at)
    return []


def signal(marking: Marking, name: str, number: int, value: bytes) -> list[str]:
    """Release who has waited longest for ``name``, else keep it. ``N``: too many are kept."""
    waiters = marking.waiting.get(name)
    if waiters:
        at = waiters[0]
        index = marking.tokens[at].waits.index(name)
        marking.forget_wait(at, marking.tokens[at])
        marking.values[at] = value
        return _release(marking, at, f"s{index}")
    kept = marking.signals.setdefault(name, [])
    if len(kept) >= SIGNALS_MAX:
        return ["N"]
    kept.append((number, value))
    return []


def take_early(marking: Marking, name: str, count: int) -> None:
    """So many early signals of a name are taken by a token that one of them has released before."""
    kept = marking.signals.get(name, [])
    if not 0 < count <= len(kept):
        raise Corrupt(f"{count} signals {name!r} are taken where {len(kept)} have come")
    del kept[:count]
    if not kept:
        del marking.signals[name]


def is_late(marking: Marking, at: At, name: str, *, is_asked: bool) -> bool:
    """Whether a word about a token comes when it waits for it no more. What comes before it asks is kept for it.

    is_asked: it waited for it when the word was given.
    """
    token = marking.tokens.get(at)
    if token is not None and token.place is Place.SIGNAL and name in token.waits:
        return False
    return is_asked or (token is not None and token.extra.rpartition("+")[2] == EXPIRED)


def expire_wait(marking: Marking, at: At) -> None:
    """The time of a wait is over."""
    token = marking.tokens[at]
    marking.forget_wait(at, token)
    token.extra = with_word(token.extra, EXPIRED)
    marking.land(at)


def _release(marking: Marking, at: At, word: str) -> list[str]:
    token = marking.tokens[at]
    token.place = Place.FLOOR
    token.extra = with_word(token.extra, word)
    marking.land(at)
    return [f"L{at[0]}:{scope_key(at[1])}:{word}"]


def ask_mutex(marking: Marking, at: At, name: str) -> list[str]:
    """Take the slot, or wait for it."""
    token = marking.tokens[at]
    token.extra = lasting(token.extra)
    mutex = marking.mutexes.get(name)
    if mutex is None:
        marking.mutexes[name] = Mutex(at)
        return _grant(marking, at)
    token.place, token.waits = Place.MUTEX, (name,)
    marking.leave(at)
    mutex.waiters.append(at)
    return []


def ask_slot(marking: Marking, at: At, word: str) -> None:
    """Wait for a slot of a concurrency key; who has one is known outside of the run. word: what it waits for."""
    token = marking.tokens[at]
    token.extra = with_word(lasting(token.extra), word)
    token.place = Place.SLOT
    marking.leave(at)


def grant_slot(marking: Marking, at: At) -> None:
    token = marking.tokens[at]
    head, _, word = token.extra.rpartition("+")
    token.extra = with_word(head, f"{SLOT}{word.removeprefix(ASKS).partition('.')[0]}")
    token.place = Place.FLOOR
    marking.land(at)


def ask_budget(marking: Marking, at: At, word: str) -> None:
    """Wait until what a call may take is reserved. word: what it wants."""
    token = marking.tokens[at]
    token.extra = with_word(lasting(token.extra), word)
    token.place = Place.BUDGET
    marking.leave(at)
    if marking.purse is not None:
        marking.purse.waiting[at] = None


def answer_budget(marking: Marking, at: At, *, is_granted: bool) -> None:
    """What a token has asked for is reserved, or refused."""
    token = marking.tokens[at]
    token.extra = granted(token.extra) if is_granted else refused(token.extra)
    token.place = Place.FLOOR
    if marking.purse is not None:
        marking.purse.waiting.pop(at, None)
    marking.land(at)


def free_mutex(marking: Marking, at: At, name: str) -> list[str]:
    """Give the slot on, if ``at`` holds it: to who asked first and still waits."""
    mutex = marking.mutexes.get(name)
    if mutex is None or mutex.holder != at:
        return []
    if marking.phase not in PARKS or not mutex.waiters:
        del marking.mutexes[name]
        return []
    mutex.holder = mutex.waiters[0]
    marking.forget_wait(mutex.holder, marking.tokens[mutex.holder])
    return _grant(marking, mutex.holder)


def _grant(marking: Marking, at: At) -> list[str]:
    token = marking.tokens[at]
    token.extra = with_word(token.extra, HOLDS)
    marking.land(at)
    return [f"G{at[0]}:{scope_key(at[1])}"]


def force(marking: Marking, at: At, value: bytes) -> list[str]:
    """Let a living token come to the end that ``value`` says. ``N``: there is none."""
    token = marking.tokens.get(at)
    if token is None or token.kind is not TokenKind.NORMAL:
        return ["N"]
    marking.forget_wait(at, token)
    marking.lose(token)
    token.extra, token.deliveries = FORCED, 0
    marking.values[at] = value
    marking.land(at)
    return [f"J{at[0]}:{scope_key(at[1])}"]


def overdue(marking: Marking, at: At) -> None:
    """It has waited in its queue for too long."""
    token = marking.tokens.get(at)
    if token is None or token.kind is not TokenKind.NORMAL or token.place is not Place.FLOOR:
        raise Corrupt(f"token {token_key(*at)} is in no queue")
    marking.values.pop(at, None)
    token.extra, token.deliveries = with_word(lasting(token.extra), OVERDUE), 0


def pause(marking: Marking) -> list[str]:
    """From now on no token is handed out. ``N``: it does not run."""
    if marking.phase is not RunPhase.RUNNING:
        return ["N"]
    marking.phase = RunPhase.PAUSED
    return []


def resume(marking: Marking) -> list[str]:
    """Go on; a token of its own wakes what was put aside. ``N``: it was not paused."""
    if marking.phase is not RunPhase.PAUSED:
        return ["N"]
    marking.phase = RunPhase.RUNNING
    waker = marking.tokens.get((WAKER_NODE, ()))
    if waker is None:
        marking.put(WAKER_NODE, (), Token(kind=TokenKind.WAKER))
    else:
        waker.deliveries = 0  # one that is under way begins again
    return []
