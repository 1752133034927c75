"""The scripts on a real Redis do what the rules say, in every order, whatever is sent twice, late or by another.

``COURANTE_LIVE_EXAMPLES`` sets the number of graphs per test, for long runs; what fails names its seed or its steps.
"""

from __future__ import annotations

import os
from asyncio import Runner
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode

from courante.sdk.connections import connect_blocking, connect_redis
from model.compiled import with_delays
from model.first_tests import FIRST_TESTS, FirstTest, Spoken
from model.lease_machine import LeaseMachine
from model.live_floor import LiveFloor
from model.reading.draw import LARGE, SMALL, accepted
from model.reading.graph import Document, from_document
from model.reading.oracle import Seeded, Told
from model.token_machine import TokenMachine

EXAMPLES = int(os.environ.get("COURANTE_LIVE_EXAMPLES", "0"))


def drive(floor: LiveFloor, drawn: Document, seed: int, partition: int = 0, *, losses: float = 0.0) -> None:
    """Walk one run to its end, by the seed; raises at the first thing that is wrong."""
    oracle = Seeded.varied(from_document(drawn), seed)
    floor.walk(with_delays(drawn, seed), oracle, seed, partition, losses=losses)


@pytest.fixture(scope="module")
def floor(redis_url: str) -> Iterator[LiveFloor]:
    with Runner() as runner:
        redis = connect_redis(redis_url)
        yield LiveFloor(runner, redis)
        runner.run(redis.aclose())


def test_random_orders_agree_with_rules_log_and_reading(floor: LiveFloor) -> None:
    for seed in range(EXAMPLES or 50):
        try:
            print(seed, floor.transitions, flush=True)
            drive(floor, accepted(seed, LARGE if seed % 5 == 0 else SMALL), seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    print(f"{floor.transitions} transitions")


def test_runs_that_lose_everything_come_to_the_same_end(floor: LiveFloor) -> None:
    """Now and then nothing is left but the log (F24): what is restored from it is what was there, field by field."""
    for seed in range(EXAMPLES or 30):
        try:
            drive(floor, accepted(seed, LARGE if seed % 5 == 0 else SMALL), seed, losses=0.25)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_whatever_happens_rules_log_and_reading_agree(floor: LiveFloor) -> None:
    """F61: drawn graphs, two workers, and every fault one by one: see the rules of ``TokenMachine``."""
    limits = settings(
        max_examples=EXAMPLES or 20,
        stateful_step_count=100 if EXAMPLES else 40,
    )
    here = floor

    class Machine(TokenMachine):
        floor = here

    run_state_machine_as_test(Machine, settings=limits)


def test_a_token_has_one_owner_whatever_happens(floor: LiveFloor, redis_url: str) -> None:
    """Random deliveries, takeovers, renewals, ends and meddling: see the rules of ``LeaseMachine``."""
    limits = settings(
        max_examples=EXAMPLES or 25,
        stateful_step_count=100 if EXAMPLES else 40,
    )
    here = floor

    class Machine(LeaseMachine):
        floor = here
        blocking = connect_blocking(redis_url, timeout_s=5)

    run_state_machine_as_test(Machine, settings=limits)
    Machine.blocking.close()


@pytest.mark.parametrize("test", FIRST_TESTS, ids=lambda test: test.name)
def test_the_first_tests_hold(floor: LiveFloor, test: FirstTest) -> None:
    """F69: the graphs of section 9 of the token rules, each in six orders."""
    document = test.document()
    for seed in range(6):
        run = floor.walk(document, Spoken(graph=from_document(document), told=Told(outcomes=test.outcomes)), seed)
        assert test.places() in (None, run.ran), f"seed {seed}"


@pytest.fixture(scope="module")
def cluster_floor(cluster_nodes: list[tuple[str, int]]) -> Iterator[LiveFloor]:
    with Runner() as runner:
        nodes = [ClusterNode(host, port) for host, port in cluster_nodes]
        redis = RedisCluster(startup_nodes=nodes)
        yield LiveFloor(runner, redis)
        runner.run(redis.aclose())


def test_a_cluster_runs_the_same_shapes(cluster_floor: LiveFloor) -> None:
    """F35: three partitions, one on each of three nodes: every key of a run is in the slot of its partition."""
    for seed in range(EXAMPLES or 15):
        try:
            drive(cluster_floor, accepted(seed, LARGE if seed % 5 == 0 else SMALL), seed, partition=(0, 1, 3)[seed % 3])
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
