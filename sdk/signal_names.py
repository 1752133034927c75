"""Names of signals: those that documents use, and two private ones, for who decides about a token and who ends it."""

from __future__ import annotations

import re

SIGNAL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
"""What a document may call a signal; the private names begin with ``!``."""


def approval_name(key: str) -> str:
    """Return the name of the signal that decides about a token. key: of the token, ``12`` or ``12:1.3``."""
    return f"!approval/{key}"


def outside_name(key: str, attempt: int) -> str:
    """Return the name of the signal that ends an attempt which was handed out."""
    return f"!defer/{key}/{attempt}"
