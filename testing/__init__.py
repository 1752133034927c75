"""Testing: runs in memory, with the engine's own rules and without its servers.

``rehearse`` runs a workflow with handlers of a test's own; time passes as fast as it can be counted.
"""

from .handlers import NotMocked
from .rehearsal import Faults, Stuck, rehearse
from .results import ChildRehearsed, Rehearsed, StepRehearsed
from .script import Say, after, attempts, when_waiting

__all__ = [
    "ChildRehearsed",
    "Faults",
    "NotMocked",
    "Rehearsed",
    "Say",
    "StepRehearsed",
    "Stuck",
    "after",
    "attempts",
    "rehearse",
    "when_waiting",
]
