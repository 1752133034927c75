"""Load: many runs submitted at once, until the last final event is committed in Postgres."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from os import getpid
from statistics import median
from typing import Any

import anyio
import msgspec

from ..sdk.client.client import Submission
from .machine import Machine
from .measured import Measured, figure
from .stage import Stage

STEPS = 3
LOAD_S = 600.0
SILENCE_S = 1.0
ENDED = "SELECT count(*) FROM runs WHERE env = $1 AND workflow = $2 AND finished_at IS NOT NULL"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One load that is done. ``submit_s``: until all were acknowledged. ``cpu_s``: by role."""

    runs: int
    seconds: float
    submit_s: float
    cpu_s: dict[str, float]

    @property
    def steps(self) -> int:
        return self.runs * STEPS

    @property
    def rate(self) -> float:
        """Steps a second."""
        return self.steps / self.seconds

    def cpu_us_per_step(self) -> dict[str, float]:
        return {role: figure(used / self.steps * 1e6) for role, used in sorted(self.cpu_s.items())}


def cpu_of(loads: list[Load]) -> dict[str, float]:
    """Per role the median of all loads."""
    roles = sorted({role for load in loads for role in load.cpu_s})
    return {role: figure(median(load.cpu_s.get(role, 0.0) / load.steps * 1e6 for load in loads)) for role in roles}


def rated(
    question: str, loads: list[Load], limits: list[float], machine: Machine, more: Mapping[str, object]
) -> Measured:
    """Return the rates of loads, with the limits that were measured next to them. more: figures of this benchmark."""
    return Measured(
        question=question,
        unit="steps/s",
        samples=[load.rate for load in loads],
        machine=machine,
        ratios=[load.rate / limit for load, limit in zip(loads, limits, strict=True)],
        more={
            "runs": loads[0].runs,
            "limit": figure(median(limits)),
            **more,
            "cpu_us_per_step": cpu_of(loads),
        },
    )


class Ended:
    """Runs that are in the log with their end: announced by the recorder, counted in Postgres in the end."""

    def __init__(self, stage: Stage, workflow: str) -> None:
        self._stage = stage
        self._workflow = workflow
        self._heard: Any = None
        self._announced = 0

    async def count(self) -> int:
        """How many are in Postgres, of all that there ever were."""
        async with self._stage.client.pool.acquire() as conn:
            return int(await conn.fetchval(ENDED, self._stage.env, self._workflow))

    @asynccontextmanager
    async def listen(self) -> AsyncGenerator[None]:
        """Hear what is announced from now on."""
        async with self._stage.redis.pubsub() as heard:
            await heard.subscribe(self._stage.partition.recorded)
            await heard.get_message(timeout=SILENCE_S)
            self._heard, self._announced = heard, 0
            yield

    async def wait(self, runs: int, total: int) -> float:
        """Return the time when the last of ``runs`` was announced and ``total`` are in Postgres."""
        while True:
            message = await self._heard.get_message(ignore_subscribe_messages=True, timeout=SILENCE_S)
            if message is not None:
                self._announced += message["data"].count(b" ") + 1
            if self._announced >= runs or message is None:
                at = time.perf_counter()
                if await self.count() >= total:
                    return at


async def run_load(stage: Stage, workflow: str, runs: int) -> Load:
    """Submit ``runs`` runs of a chain of three at once and wait for the last of their ends to be in the log."""
    submissions = [Submission(workflow=workflow, input={"n": 1})] * runs
    stage.pids["client"] = [getpid()]
    ended = Ended(stage, workflow)
    with anyio.fail_after(LOAD_S):
        total = await ended.count() + runs
        async with ended.listen():
            before = stage.cpu_s()
            began = time.perf_counter()
            await stage.client.submit_many(submissions)
            submitted = time.perf_counter()
            done = await ended.wait(runs, total)
            after = stage.cpu_s()
    used = {role: after[role] - before.get(role, 0.0) for role in after}
    return Load(runs=runs, seconds=done - began, submit_s=submitted - began, cpu_s=used)
