"""The scripts on a real Redis do what the rules say, in every order, whatever is sent twice, late or by another.

``COURANTE_LIVE_EXAMPLES`` sets the number of graphs per test; what fails names its seed.
"""

from __future__ import annotations

import os
import secrets
from asyncio import Runner
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode

from courante.sdk import rules
from courante.sdk.connections import connect_redis
from courante.sdk.keys import Keys
from courante.sdk.scripts import Connection
from model.compiled import Parking, plan_of, with_delays
from model.first_tests import FIRST_TESTS, FirstTest, Spoken
from model.hands import Hands
from model.interleave import compare, drive_at_random
from model.live_engine import LiveEngine
from model.live_run import LiveRun, Speaks
from model.reading.draw import LARGE, SMALL, accepted, documents
from model.reading.graph import Document, from_document
from model.reading.oracle import Seeded, Told
from model.reading.reading import read

EXAMPLES = int(os.environ.get("COURANTE_LIVE_EXAMPLES", "0"))
CHUNKS = ((500, 64), (1, 0), (2, 1))
"""(most effects of a transition, longest walk of a dead path): what is rare is made common."""


@dataclass
class Floor:
    """A connection and the loop it lives in."""

    runner: Runner
    redis: Connection
    transitions: int = 0

    def drive(self, drawn: Document, seed: int, partition: int = 0) -> None:
        """Walk one run to its end, in an environment of its own; raises at the first thing that is wrong."""
        oracle = Seeded.varied(from_document(drawn), seed)
        self.walk(with_delays(drawn, seed), oracle, seed, partition)

    def walk(self, document: Document, oracle: Speaks, seed: int, partition: int = 0) -> LiveRun:
        graph = from_document(document)
        reading = read(graph, oracle)
        with pytest.MonkeyPatch.context() as patch:
            effects, walk = CHUNKS[seed % len(CHUNKS)]
            patch.setattr(rules, "EFFECTS_MAX", effects)
            patch.setattr(rules, "WALK_MAX", walk)
            keys = Keys(f"t{secrets.token_hex(6)}")
            hands = Hands(self.redis, keys, partition=partition, twice=seed % 2 == 0)
            self.runner.run(hands.open())
            run = LiveRun(
                hands=hands,
                run_id=f"r{seed}",
                plan=plan_of(document),
                graph=graph,
                oracle=oracle,
                reading=reading,
                parking=Parking(seed=seed, share=(0.0, 0.3)[seed // 2 % 2]),
                random=Random(seed),
                reads_all=seed % 4 < 2,
            )
            engine = LiveEngine(self.runner, run)
            driven = drive_at_random(engine, seed)
            compare(engine, driven, graph, reading)
            assert self.runner.run(run.finish()) == reading.status
            self.transitions += run.transitions
            self.runner.run(_forget(self.redis, hands))
        return run


async def _forget(redis: Connection, hands: Hands) -> None:
    """Let go of everything that the environment has: all of it is in one slot."""
    found = [key async for key in redis.scan_iter(match=f"{hands.keys.prefix}*", count=1_000)]
    assert {key.decode().partition("}")[0] for key in found} == {hands.at.base.partition("}")[0]}
    await redis.unlink(*found)


@pytest.fixture(scope="module")
def floor(redis_url: str) -> Iterator[Floor]:
    with Runner() as runner:
        redis = connect_redis(redis_url)
        yield Floor(runner, redis)
        runner.run(redis.aclose())


def test_random_orders_agree_with_rules_log_and_reading(floor: Floor) -> None:
    for seed in range(EXAMPLES or 70):
        try:
            print(seed, floor.transitions, flush=True)
            floor.drive(accepted(seed, LARGE if seed % 5 == 0 else SMALL), seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    print(f"{floor.transitions} transitions")


@settings(
    max_examples=EXAMPLES or 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(drawn=documents(), seed=st.integers(0, 10_000))
def test_drawn_documents_agree_with_rules_log_and_reading(floor: Floor, drawn: Document, seed: int) -> None:
    floor.drive(drawn, seed)


@pytest.mark.parametrize("test", FIRST_TESTS, ids=lambda test: test.name)
def test_the_first_tests_hold(floor: Floor, test: FirstTest) -> None:
    """The graphs of section 9 of the token rules, each in six orders."""
    document = test.document()
    for seed in range(6):
        run = floor.walk(document, Spoken(graph=from_document(document), told=Told(outcomes=test.outcomes)), seed)
        assert test.places() in (None, run.ran), f"seed {seed}"


@pytest.fixture(scope="module")
def cluster_floor(cluster_nodes: list[tuple[str, int]]) -> Iterator[Floor]:
    with Runner() as runner:
        nodes = [ClusterNode(host, port) for host, port in cluster_nodes]
        redis = RedisCluster(startup_nodes=nodes)
        yield Floor(runner, redis)
        runner.run(redis.aclose())


def test_a_cluster_runs_the_same_shapes(cluster_floor: Floor) -> None:
    """Three partitions, one on each of three nodes: every key of a run is in the slot of its partition."""
    for seed in range(EXAMPLES or 15):
        try:
            cluster_floor.drive(accepted(seed, LARGE if seed % 5 == 0 else SMALL), seed, partition=(0, 1, 3)[seed % 3])
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
