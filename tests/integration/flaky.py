"""Steps that fail: some for a while, some always."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from courante.sdk.outcomes.step_context import StepError

SAID = "a text that nobody else shall read"


class Flaky:
    """``flaky`` fails ``fails`` times, all runs together, and works from then on; ``bad`` never does."""

    def __init__(self, fails: int = 2) -> None:
        self._left = fails

    def steps(self) -> dict[str, Callable[..., Any]]:
        return {"flaky": self.flaky, "bad": self.bad}

    async def flaky(self, value: Any) -> Any:
        if self._left:
            self._left -= 1
            raise StepError("AGAIN", SAID)
        return value

    async def bad(self, value: Any) -> Any:
        raise StepError("NEVER", f"{SAID}: {value}")
