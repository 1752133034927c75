"""What scenarios do not wait for as long: loaded into the nursery, so that everybody who is forked has it.

Those of ``scripts/chaos`` start by themselves, with the patience of the engine.
"""

from __future__ import annotations

from courante.supervisor import completion, intake

STALE_MS = 2_000
"""Entries that a supervisor has read and not settled are another's then."""
SWEEP_S = 1.0
"""Between two looks for such entries."""

completion.STALE_MS = intake.STALE_MS = STALE_MS
completion.SWEEP_S = intake.SWEEP_S = SWEEP_S
