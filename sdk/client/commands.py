"""Commands: what can be asked of runs that go on, of their steps, of workflows and of queues.

They are the same wherever they are carried out: by the engine's own client, or over an API. Who carries them out says
how.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ...compiler.budgets import billionths
from ..floor.commanding import RAISE
from ..stores.command_bodies import Body
from ..stores.pauses import PauseKind
from .control import Commanded
from .deciding import Decision, StepCommanded
from .pausing import PauseResult


class Commands(ABC):
    """``by``: who asks. A command that is asked for twice is carried out once, or tells that nothing is left to do."""

    async def cancel(self, run_id: str, reason: str = "", *, by: str | None = None) -> Commanded:
        """Cancel a run: what waits is taken away, what runs is told, what is done is undone where that is declared.

        All of these raise RunNotFound, InputInvalid, ServiceUnavailable.
        """
        return await self._about_run(run_id, "cancel", Body(reason=reason), by)

    async def pause(self, run_id: str, reason: str = "", *, by: str | None = None) -> Commanded:
        """Hand out no more steps of a run; what is under way ends. Timers and signals are kept until it goes on."""
        return await self._about_run(run_id, "pause", Body(reason=reason), by)

    async def resume(self, run_id: str, reason: str = "", *, by: str | None = None) -> Commanded:
        """Let a paused run go on."""
        return await self._about_run(run_id, "resume", Body(reason=reason), by)

    async def signal(self, run_id: str, name: str, data: Any = None, *, by: str | None = None) -> Commanded:
        """Send a signal to the step that has waited longest for it, or keep it for the one that will."""
        return await self._signal(run_id, name, data, by)

    async def raise_budget(
        self, run_id: str, *, tokens: int = 0, cost: str | float = 0, reason: str = "", by: str | None = None
    ) -> Commanded:
        """Raise the budget of a run, by so many tokens and so much money of its currency. What waits for it goes on.

        A limit that the run has not stays away. Raises RunNotFound, ValueError.
        """
        if tokens < 0:
            raise ValueError("a budget is raised, not lowered")
        body = Body(tokens=tokens, cost=billionths(cost), reason=reason)
        return await self._about_run(run_id, RAISE, body, by)

    async def cancel_step(
        self, run_id: str, step: str, *, scope: str = "", reason: str = "", by: str | None = None
    ) -> Commanded:
        """Withdraw a step that has not ended: the ways that lead on from it are dead. Raises StepNotFound."""
        return await self._about_step(run_id, "cancel_step", step, scope, Body(reason=reason), by)

    async def force_succeed(
        self, run_id: str, step: str, output: Any = None, *, scope: str = "", reason: str = "", by: str | None = None
    ) -> Commanded:
        """Let a step that waits, retries or runs have succeeded with this output.

        Raises StepNotFound, and ApproverNotSeparate as ``approve`` does.
        """
        body = Body(output=output, reason=reason)
        return await self._about_step(run_id, "force_succeed", step, scope, body, by)

    async def force_skip(
        self, run_id: str, step: str, *, scope: str = "", reason: str = "", by: str | None = None
    ) -> Commanded:
        """Let a step that waits, retries or runs be skipped. Raises StepNotFound, ApproverNotSeparate."""
        return await self._about_step(run_id, "force_skip", step, scope, Body(reason=reason), by)

    async def approve(
        self,
        run_id: str,
        step: str | None = None,
        *,
        scope: str = "",
        comment: str = "",
        reason: str = "",
        data: Any = None,
        by: str | None = None,
    ) -> StepCommanded:
        """Let a step go on that asks for a decision, or will ask. step: may be left out where only one can be meant.

        Raises StepNotFound, StepUnclear, NothingWaits, AlreadyDecided with who was first, and ApproverNotSeparate where
        the step asks for somebody else than who has started the run.
        """
        return await self._decide(
            run_id,
            Decision(is_approval=True, step=step, scope=scope, comment=comment, reason=reason, data=data, by=by),
        )

    async def reject(
        self,
        run_id: str,
        step: str | None = None,
        *,
        scope: str = "",
        comment: str = "",
        reason: str = "",
        data: Any = None,
        by: str | None = None,
    ) -> StepCommanded:
        """Let a step fail that asks for a decision, as ``approve`` does the opposite."""
        return await self._decide(
            run_id,
            Decision(is_approval=False, step=step, scope=scope, comment=comment, reason=reason, data=data, by=by),
        )

    async def complete(self, token: str, output: Any = None, *, by: str | None = None) -> StepCommanded:
        """Let a step succeed that has handed out this token (``Context.defer``).

        Raises NothingWaits, and AlreadyDecided with who was first.
        """
        return await self._end_step(token, output, None, by)

    async def fail(self, token: str, error: str, *, by: str | None = None) -> StepCommanded:
        """Let a step fail that has handed out this token, as ``complete`` does the opposite."""
        return await self._end_step(token, None, error, by)

    async def pause_workflow(self, workflow: str, reason: str = "", *, by: str | None = None) -> PauseResult:
        """Pause all runs of a workflow, and those that are started until it is resumed. Raises WorkflowNotFound."""
        return await self._pause(PauseKind.WORKFLOW, workflow, reason, by)

    async def resume_workflow(self, workflow: str, *, by: str | None = None) -> PauseResult:
        """Let the runs go on that stand still since their workflow was paused."""
        return await self._resume(PauseKind.WORKFLOW, workflow, by)

    async def pause_queue(self, queue: str, reason: str = "", *, by: str | None = None) -> PauseResult:
        """Have workers read a queue no more; each hears of it within seven seconds, and ends what it holds."""
        return await self._pause(PauseKind.QUEUE, queue, reason, by)

    async def resume_queue(self, queue: str, *, by: str | None = None) -> PauseResult:
        """Have workers read a paused queue again."""
        return await self._resume(PauseKind.QUEUE, queue, by)

    @abstractmethod
    async def _about_run(self, run_id: str, kind: str, body: Body, by: str | None) -> Commanded: ...

    @abstractmethod
    async def _signal(self, run_id: str, name: str, data: Any, by: str | None) -> Commanded: ...

    @abstractmethod
    async def _about_step(
        self, run_id: str, kind: str, step: str, scope: str, body: Body, by: str | None
    ) -> Commanded: ...

    @abstractmethod
    async def _decide(self, run_id: str, decision: Decision) -> StepCommanded: ...

    @abstractmethod
    async def _end_step(self, token: str, output: Any, error: str | None, by: str | None) -> StepCommanded: ...

    @abstractmethod
    async def _pause(self, kind: PauseKind, name: str, reason: str, by: str | None) -> PauseResult: ...

    @abstractmethod
    async def _resume(self, kind: PauseKind, name: str, by: str | None) -> PauseResult: ...
