"""Late attempts: their time is up, and their worker's loop does not end them, because a step blocks it.

The thread of the leases does so in its place: nobody else can, and what such an attempt comes to is void all the same.
Steps and tools only: whatever calls models has to say what it has spent, and is another worker's when its lease has
passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import structlog

from ..sdk.connections import close_redis, connect_alone
from ..sdk.floor.calling import Word
from ..sdk.floor.presence import FORGOTTEN_S
from ..sdk.floor.scripts import advance
from ..sdk.outcomes.outcomes import failed
from ..sdk.outcomes.step_context import StepError
from .held_attempts import Ending, HeldAttempt, too_long
from .settling import Settler

if TYPE_CHECKING:
    from .leases import Holder
    from .loop_watch import LoopWatch
    from .transition import Transition
    from .work import Work

TYPES = frozenset({"function", "tool"})
SPENT = "B"
log = structlog.get_logger()
CallSoon = Callable[..., None]


class LateAttempts:
    """For one thread, which waits for Redis. ``worker``: as events name it. ``grace_s``: how late an attempt may be.

    ``call_soon``: calls something on the loop, once that is back.
    """

    def __init__(self, url: str, worker: str, watch: LoopWatch, grace_s: float, call_soon: CallSoon) -> None:
        self._url = url
        self._call_soon = call_soon
        self._grace_s = grace_s
        self._worker = worker
        self._watch = watch
        self._settler = Settler(worker)
        self._unsettled: set[tuple[str, str, str]] = set()

    def end(self, holder: Holder, until: float) -> None:
        """End those of a lane, and begin with none after ``until``, by this process' monotonic clock.

        Raises RedisError, OSError, Closed, BackPressure: the next look tries again, as it does those that are left.
        """
        for work, held, ending in holder.attempts.late(self._grace_s):
            if time.monotonic() >= until:
                return
            is_unsettled = (work.run_id, work.key, work.fence) in self._unsettled
            if work.node.type in TYPES and not work.must_keep_input and not is_unsettled:
                self._end(holder, work, held, ending)

    def _end(self, holder: Holder, work: Work, held: HeldAttempt, ending: Ending) -> None:
        try:
            transition: Transition | None = self._settled(work, held, ending)
        except Exception as error:
            log.exception("late_attempt_not_ended", run_id=work.run_id, node=work.node.id, error=str(error))
            self._unsettled.add((work.run_id, work.key, work.fence))
            return
        verdict = ""
        while transition is not None:
            verdict = anyio.run(self._send, holder, work, transition)
            transition = transition.otherwise if verdict == SPENT else None
        held.ending = Ending.LOST  # whatever the loop says of it when it is back comes too late
        self._call_soon(holder.attempts.lose, work)
        told = {"run_id": work.run_id, "node": work.node.id, "attempt": work.attempt, "why": ending.name.lower()}
        log.error("attempt_ended_without_its_loop", verdict=verdict, worker=self._worker, **told)

    def _settled(self, work: Work, held: HeldAttempt, ending: Ending) -> Transition:
        overrun = too_long(ending, work.node)
        if overrun is None:
            return self._settler.drop(work)
        said = str(overrun)
        if work is self._watch.blocker:
            said += f", and it blocks the event loop of its worker at {self._watch.place or 'a place unknown'}"
        outcome = failed(StepError(overrun.type, said), work.node.id, work.attempt, self._worker)
        return self._settler.settle(work, outcome, int((time.monotonic() - held.started_at) * 1000))

    async def _send(self, holder: Holder, work: Work, transition: Transition) -> str:
        """Return the verdict. The number of the call is the transition's own, so that it can be sent again.

        In a loop of this thread, over a connection that is made for it: that is rare.
        """
        name, is_last = f"{holder.consumer}.late", transition.otherwise is None
        number = f"{work.run_id}|{work.key}|{work.fence}|{int(is_last)}"
        words: list[Word] = [name, number, 0, *holder.limits, 0, *transition.words]
        redis = connect_alone(self._url)
        try:
            with anyio.fail_after(self._grace_s):
                answer = await advance(redis, holder.keys, name, holder.streams, words)
                await redis.expire(holder.keys.worker(name), FORGOTTEN_S)
        finally:
            await close_redis(redis)
        return answer.verdicts
