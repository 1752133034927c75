"""Replay: the state of a run, rebuilt and verified from its log alone. Writes nothing and calls no handler."""

from .changes import Change, diff
from .checking import Difference
from .state import NoSuchEvent, marking_at, marking_to_json, state_at
from .verify import Verification, verify_run

__all__ = [
    "Change",
    "Difference",
    "NoSuchEvent",
    "Verification",
    "diff",
    "marking_at",
    "marking_to_json",
    "state_at",
    "verify_run",
]
