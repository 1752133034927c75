"""Names of signals: those of documents, and private ones: who decides about a token, who ends it, its child run."""

from __future__ import annotations

import re

SIGNAL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
"""What a document may call a signal; the private names begin with ``!``."""
_APPROVAL = "!approval/"


def approval_name(key: str) -> str:
    """Return the name of the signal that decides about a token. key: of the token, ``12`` or ``12:1.3``."""
    return f"{_APPROVAL}{key}"


def approved_key(name: str) -> str | None:
    """Return the key of the token that a signal of this name decides about, None where it decides about none."""
    return name.removeprefix(_APPROVAL) if name.startswith(_APPROVAL) else None


def outside_name(key: str, attempt: int) -> str:
    """Return the name of the signal that ends an attempt which was handed out."""
    return f"!defer/{key}/{attempt}"


def child_name(key: str, attempt: int) -> str:
    """Return the name of the signal by which the child run of an attempt tells of its end."""
    return f"!child/{key}/{attempt}"


def is_child_name(name: str) -> bool:
    return name.startswith("!child/")
