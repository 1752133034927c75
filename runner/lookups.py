"""Lookups: before a step with a cache is executed its output is looked for, or its turn to make it is waited for.

A hit ends the token here. Who has to wait for another attempt that makes the same output does so for a moment, with its
slot; then the token is given back for a while, without an event, so that nobody who waits keeps others from working.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from ..sdk.caching.cache_keys import cache_key
from ..sdk.caching.cached import RUN_ONLY, Kept
from ..sdk.floor.cache_calls import Lock
from ..sdk.floor.payloads import is_reference
from ..sdk.outcomes.outcomes import Cached, GivenBack, Outcome
from ..sdk.sealing.payload_terms import PAYLOAD_TERMS
from .effective_input import effective_input
from .step_cache import StepCache
from .toolbox import Toolbox
from .work import Work

WAIT_S = 0.5
"""How long a slot is held for an output that another attempt makes, the first time."""
LOOK_S_MIN, LOOK_S_MAX = 0.02, 0.1
AWAY_MS_MIN, AWAY_MS_MAX = 100, 2_000
"""For how long a token is given back: about as long as its output was waited for until then."""
WAITED_MAX = 10_000
GoOn = Callable[[Work, "Outcome | None"], None]


class Lookups:
    """For the tokens of one lane. ``go_on``: told what has come of it, None where the work is to be executed."""

    def __init__(
        self, cache: StepCache, tools: Toolbox, go_on: GoOn, spawn: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self._cache = cache
        self._tools = tools
        self._go_on = go_on
        self._spawn = spawn
        self._waited: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._log = cache.log

    def start(self, work: Work) -> None:
        """Look for the output of a work, and go on. Raises StepError.

        The input of a function that another function selects is not known yet: it is executed, and looks by itself
        when it is (``Work.look_up``).
        """
        if work.node.type == "function" and "input_selector" in work.node.config and not work.live.startswith("b"):
            work.look_up = self.look_up
            self._go_on(work, None)
            return
        key = self._key(work)
        self._cache.look(key, work.now_ms, lambda kept: self._found(work, key, kept))

    async def look_up(self, work: Work) -> Outcome | None:
        """Return the output, or that it is waited for; None where the work is to be executed. Raises StepError."""
        key = self._key(work)
        return await self._settled(work, key, await self._cache.find(key, work.now_ms))

    def _key(self, work: Work) -> str:
        run_id = work.run_id if work.plan.caches[work.number].scope == RUN_ONLY else ""
        node = work.node
        return cache_key(
            work.plan.ir.workflow,
            node.id,
            node_type=node.type,
            config_hash=node.config_hash,
            effective=effective_input(work, self._tools),
            run_id=run_id,
            encode=PAYLOAD_TERMS.encode,
        )

    def _found(self, work: Work, key: str, kept: Kept | None) -> None:
        if kept is not None and not self._looks_inside(work, kept):
            self._go_on(work, self._hit(key, kept, kept.output))
        else:
            self._spawn(self._settle(work, key, kept))

    async def _settle(self, work: Work, key: str, kept: Kept | None) -> None:
        began = time.monotonic()
        outcome = await self._settled(work, key, kept)
        waited_s = time.monotonic() - began
        work.now_ms += int(waited_s * 1000)  # its time begins when it is its turn
        work.received_at += waited_s if work.received_at else 0
        self._go_on(work, outcome)

    async def _settled(self, work: Work, key: str, kept: Kept | None) -> Outcome | None:
        until = time.monotonic() + self._patience(work)
        delay = LOOK_S_MIN
        lock = Lock(key, f"{work.run_id}|{work.key}", work.fence)
        cache = work.plan.caches[work.number]
        while True:
            gone: bytes | None = None
            if kept is not None:
                content = await self._cache.load(kept.output) if self._looks_inside(work, kept) else kept.output
                if content is not None:
                    self._waited.pop((work.run_id, work.key), None)
                    return self._hit(key, kept, content)
                gone = kept.output
            flight, kept = await self._cache.take(lock, cache, work.now_ms, gone)
            if flight is not None:
                self._waited.pop((work.run_id, work.key), None)
                self._log.debug("cache_miss", key=key, run_id=work.run_id, node=work.node.id)
                work.flight = flight
                return None
            if kept is None:
                left = until - time.monotonic()
                if left <= 0:
                    return GivenBack(self._away_ms(work))
                await self._cache.wait(key, min(delay, left))
                delay = min(LOOK_S_MAX, delay * 2)

    def _hit(self, key: str, kept: Kept, content: bytes) -> Cached:
        self._log.debug("cache_hit", key=key, from_run_id=kept.run_id)
        return Cached(content, kept.output, key, kept.run_id)

    def _looks_inside(self, work: Work, kept: Kept) -> bool:
        """Whether the output decides where it goes on, and stands elsewhere."""
        assert work.code is not None
        return work.code.routes and is_reference(kept.output)

    def _patience(self, work: Work) -> float:
        return 0.0 if (work.run_id, work.key) in self._waited else WAIT_S

    def _away_ms(self, work: Work) -> int:
        at, now = (work.run_id, work.key), time.monotonic()
        since = self._waited.setdefault(at, now)
        self._waited.move_to_end(at)
        if len(self._waited) > WAITED_MAX:
            self._waited.popitem(last=False)
        return int(min(AWAY_MS_MAX, max(AWAY_MS_MIN, (now - since) * 1000)))
