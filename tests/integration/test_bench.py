"""The benchmarks run and say what they have measured. No figure is asserted: machines differ, and so do minutes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import anyio
import pytest

from courante.bench import api, machine, makespan
from courante.bench.main import NAMES, BenchUnknown, run_bench
from courante.bench.measured import figure, percentile
from courante.sdk.connections import connect_redis
from courante.sdk.embedded import Servers
from courante.sdk.settings import Settings

pytestmark = pytest.mark.anyio

BENCH_S = 120
RUNS = {
    "limit": 400,
    "chain": 2,
    "fanout": 2,
    "throughput": 50,
    "map": 350,
    "growth": 50,
    "memory": 50,
    "makespan": 30,
    "recovery": 50,
    "replay": 60,
    "cache": 50,
    "api": 10,
}
RATES = {"limit", "throughput", "map", "cache", "api"}


@pytest.mark.parametrize("name", NAMES)
async def test_a_benchmark_measures(
    embedded_servers: Servers, database: str, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each one returns its figures as JSON, a ratio with every rate, and leaves no key behind on servers of others."""
    monkeypatch.setattr(makespan, "SLOTS", (4, 64))
    monkeypatch.setattr(api, "BATCHES", (10,))
    monkeypatch.setattr(api, "WAITS", 1)
    monkeypatch.setattr(api, "WAIT_MS", 100)
    monkeypatch.setattr(api, "BEGIN_S", 2.0)
    monkeypatch.setattr(api, "LATE", BENCH_S)  # listeners wait until all has come, however slow the machine is
    settings = Settings(home=tmp_path, redis_url=embedded_servers.redis_url, database_url=database)
    said: list[str] = []
    with anyio.fail_after(BENCH_S):
        found = await run_bench(name, settings, said.append, repetitions=1, runs=RUNS[name])
    json.dumps(found)
    assert found["name"] == name
    assert float(str(found["median"])) > 0
    assert found["samples"] == (RUNS[name] if name in {"chain", "fanout"} else 1)
    assert (found["ratio"] is not None) == (name in RATES)
    assert said
    for heard in (found[name] for name in ("listeners_own", "listeners_all") if name in found):
        assert isinstance(heard, dict)
        assert (heard["listeners"], heard["lost"], heard["repeated"], heard["let_go"]) == (10, 0, 0, 0)
        assert heard["late_s"] or heard["undelivered"] == 0
    redis = connect_redis(embedded_servers.redis_url)
    try:
        assert [key async for key in redis.scan_iter(match="courante:bench-*")] == []
    finally:
        await redis.aclose()


def test_who_is_gone_has_waited_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor has anybody where the system does not tell; a main thread's wait and the host's share are told in seconds."""
    monkeypatch.setattr(machine, "PROC", tmp_path)
    assert (machine.waited_s([7]), machine.stolen_s()) == (0, 0)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "schedstat").write_text("900 1500000000 12\n")
    (tmp_path / "stat").write_text("cpu  1 2 3 4 5 6 7 250 0 0\ncpu0 1 2 3 4 5 6 7 1 0 0\n")
    assert (machine.waited_s([7, 8]), machine.stolen_s()) == (1.5, 250 / os.sysconf("SC_CLK_TCK"))


async def test_a_benchmark_brings_servers_of_its_own(tmp_path: Path) -> None:
    """Without URLs it starts servers in a directory of its own, and never touches the home of the settings."""
    with anyio.fail_after(BENCH_S):
        found = await run_bench("throughput", Settings(home=tmp_path / "home"), repetitions=1, runs=20)
    assert isinstance(found["cpu_us_per_step"], dict)
    assert not (tmp_path / "home").exists()


async def test_an_unknown_benchmark_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BenchUnknown) as caught:
        await run_bench("recovry", Settings(home=tmp_path))
    assert "recovry" in caught.value.message
    assert all(name in caught.value.hint for name in NAMES)


def test_the_bound_of_a_graph_is_grahams() -> None:
    """Work over slots, and the path for all slots but the one that walks it; a chain of one slot is its own length."""
    chain = [makespan.Step(10, ()), makespan.Step(20, (0,)), makespan.Step(30, (1,))]
    assert (makespan.work_ms(chain), makespan.path_ms(chain)) == (60, 60)
    assert [makespan.bound_ms(chain, slots) for slots in (1, 3)] == pytest.approx([60, 60])
    wide = [makespan.Step(10, ()) for _ in range(6)]
    assert [makespan.bound_ms(wide, slots) for slots in (1, 2, 4)] == [60, 35, 22.5]
    assert makespan.limit_ms(wide, 4) == 22.5 + 3


def test_drawn_graphs_are_the_same_for_the_same_seed() -> None:
    steps = makespan.draw(500, Random(3))
    assert steps == makespan.draw(500, Random(3))
    assert all(number < at for at, step in enumerate(steps) for number in step.after)
    assert {len(step.after) for step in steps} == {0, 1, 2, 3}


def test_figures_have_the_digits_that_mean_something() -> None:
    assert [figure(value) for value in (0.0, 0.0012345, 12.3456, 12_345.6)] == [0, 0.001234, 12.35, 12_350]


def test_a_percentile_is_a_sample() -> None:
    assert (percentile([1.0, 2.0, 3.0, 4.0], 50), percentile([1.0, 2.0], 99), percentile([5.0], 99)) == (2.0, 2.0, 5.0)
