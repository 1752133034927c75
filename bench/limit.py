"""How many tokens a second can one worker pass on, if it does nothing else? The measure of all rates.

A bare loop on the same server: XREADGROUP of up to 200 entries, then one pipeline with an XACK and an XADD for each of
them. No state, no log, no fencing: what a queue does, not what an engine does.
"""

from __future__ import annotations

import secrets
import time

from redis.asyncio import Redis

from ..sdk.settings import Settings
from .measured import Measured
from .plan import BenchPlan
from .stage import Progress, open_stage

TOKENS = 20_000
COUNT = 200
GROUP = "bench"
TOKEN = {"t": "run_01JABCDEFGHJKMNPQRSTVWXYZ0|17|4294967297"}
"""As long as a token of the engine's."""


async def measure(settings: Settings, plan: BenchPlan, say: Progress) -> Measured:
    async with open_stage(settings) as stage:
        tokens = plan.runs_or(TOKENS)
        samples: list[float] = []
        for number in range(plan.repetitions + 1):
            rate = await measure_limit(stage.redis, stage.client.keys.prefix, tokens)
            if number:
                samples.append(rate)
                say(f"limit {number}/{plan.repetitions}: {rate:,.0f} tokens/s")
        return Measured(
            question="How many tokens a second can one worker pass on, if it does nothing else?",
            unit="tokens/s",
            samples=samples,
            machine=stage.machine,
            ratios=[1.0] * len(samples),
            more={"tokens": tokens},
        )


async def measure_limit(redis: Redis, prefix: str, tokens: int = TOKENS) -> float:
    """Return tokens a second, over keys below ``prefix`` that are gone afterwards."""
    source, target = (f"{prefix}{{limit}}:{name}:{secrets.token_hex(4)}" for name in ("from", "to"))
    try:
        await redis.xgroup_create(source, GROUP, "0", mkstream=True)
        for first in range(0, tokens, COUNT):
            pipe = redis.pipeline(transaction=False)
            for _ in range(min(COUNT, tokens - first)):
                pipe.xadd(source, TOKEN)  # pyright: ignore[reportUnusedCoroutine, reportArgumentType]
            await pipe.execute()
        began = time.perf_counter()
        passed = 0
        while passed < tokens:
            passed += await _pass_on(redis, source, target)
        return tokens / (time.perf_counter() - began)
    finally:
        await redis.unlink(source, target)


async def _pass_on(redis: Redis, source: str, target: str) -> int:
    answer = await redis.xreadgroup(GROUP, "one", {source: ">"}, count=COUNT)
    ((_, entries),) = answer
    pipe = redis.pipeline(transaction=False)
    for entry, fields in entries:
        pipe.xack(source, GROUP, entry)
        pipe.xadd(target, fields)  # pyright: ignore[reportUnusedCoroutine, reportArgumentType]
    await pipe.execute()
    return len(entries)
