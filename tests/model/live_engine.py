"""The real thing as an engine: scripts, keys, settling and routing on a real Redis, behind the ``Engine`` protocol."""

from __future__ import annotations

from asyncio import Runner
from dataclasses import dataclass
from typing import TYPE_CHECKING

from courante.sdk.marking.marking import RunPhase
from courante.sdk.marking.scopes import token_key

if TYPE_CHECKING:
    from model.live_run import LiveRun
    from model.reading.reading import Place


@dataclass
class LiveEngine:
    """Satisfies ``Engine``, ``Lists`` and ``Redelivers``. ``runner`` is where the run's connection lives."""

    runner: Runner
    run: LiveRun

    def start(self) -> None:
        self.runner.run(self.run.start())

    def tokens(self) -> list[str]:
        return self.living()

    def living(self) -> list[str]:
        """In the order of the rules' own ledger: a hash in Redis has none."""
        return [token_key(node, scope) for node, scope in self.run.twin.marking.tokens]

    def deliver(self, token: str) -> None:
        self.runner.run(self.run.deliver(token))

    def redeliver(self, token: str) -> None:
        self.runner.run(self.run.redeliver(token))

    def counter(self) -> int:
        return self.run.marking.counter

    def status(self) -> str:
        marking = self.run.marking
        if marking.counter:
            return "RUNNING"
        if marking.phase is RunPhase.RUNNING and marking.unfinished:
            return "CORRUPT"
        return "FAILED" if marking.reason else "COMPLETED"

    def executed(self) -> set[Place]:
        return set(self.run.ran)
