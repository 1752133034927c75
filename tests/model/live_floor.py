"""A live floor: a connection, the loop it lives in, and the runs that are begun on it, each in its own environment."""

from __future__ import annotations

import secrets
from asyncio import Runner
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import pytest

from courante.sdk.floor.calling import Connection
from courante.sdk.keys import Keys
from courante.sdk.marking import rules
from model.compiled import Parking, plan_of
from model.hands import Hands
from model.interleave import compare, drive_at_random
from model.live_engine import LiveEngine
from model.live_run import LiveRun, Speaks
from model.reading.graph import Document, from_document
from model.reading.reading import read

if TYPE_CHECKING:
    from collections.abc import Generator

CHUNKS = ((500, 64), (1, 0), (2, 1))
"""(most effects of a transition, longest walk of a dead path): what is rare is made common."""


@contextmanager
def chunks_of(seed: int) -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        effects, walk = CHUNKS[seed % len(CHUNKS)]
        patch.setattr(rules, "EFFECTS_MAX", effects)
        patch.setattr(rules, "WALK_MAX", walk)
        yield


@dataclass
class LiveFloor:
    """``transitions``: how many were made on it."""

    runner: Runner
    redis: Connection
    transitions: int = 0

    def begin(
        self, document: Document, oracle: Speaks, seed: int, partition: int = 0, *, faults: float = 0.3
    ) -> LiveRun:
        """A run that is ready to start. What is not said of it goes with the seed."""
        graph = from_document(document)
        hands = Hands(self.redis, Keys(f"t{secrets.token_hex(6)}"), partition=partition)
        self.runner.run(hands.open())
        return LiveRun(
            hands=hands,
            run_id=f"r{seed}",
            plan=plan_of(document),
            graph=graph,
            oracle=oracle,
            reading=read(graph, oracle),
            parking=Parking(seed=seed, share=(0.0, 0.3)[seed // 2 % 2]),
            random=Random(seed),
            reads_all=seed % 4 < 2,
            faults=faults,
        )

    def walk(
        self, document: Document, oracle: Speaks, seed: int, partition: int = 0, *, losses: float = 0.0
    ) -> LiveRun:
        """Walk one run to its end in an order drawn from the seed; raises at the first thing that is wrong."""
        with chunks_of(seed):
            run = self.begin(document, oracle, seed, partition)
            run.hands.twice = seed % 2 == 0
            run.losses = losses
            engine = LiveEngine(self.runner, run)
            driven = drive_at_random(engine, seed)
            compare(engine, driven, run.graph, run.reading)
            assert self.runner.run(run.finish()) == run.reading.status
            self.leave(run)
        return run

    def leave(self, run: LiveRun) -> None:
        """Let go of everything that the run's environment has: all of it is in one slot."""
        self.transitions += run.transitions
        self.runner.run(_forget(self.redis, run.hands))


async def _forget(redis: Connection, hands: Hands) -> None:
    found = [key async for key in redis.scan_iter(match=f"{hands.keys.prefix}*", count=1_000)]
    assert {key.decode().partition("}")[0] for key in found} == {hands.at.base.partition("}")[0]}
    await redis.unlink(*found)
