"""Slot words: what ``extra`` of a token says of what it shares with other runs: a slot of a concurrency key, a turn."""

from __future__ import annotations

PACED = "paced"
SLOT, ASKS = "slot=", "asks="


def slot_of(extra: str) -> str:
    """Return the name of the concurrency key of which a token holds a slot, or nothing."""
    return next((word[len(SLOT) :] for word in extra.split("+") if word.startswith(SLOT)), "")


def without_slot(extra: str) -> str:
    """Return the words without the slot of a concurrency key, also where that is only asked for."""
    return "+".join(word for word in extra.split("+") if not word.startswith((SLOT, ASKS)))
