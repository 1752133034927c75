"""What worker and supervisor count of real runs, as it is scraped."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from courante.runner.meter import Meter
from courante.sdk.metrics.exposition import Exposition, Sources
from courante.supervisor.monitoring import counting as counting_module
from courante.supervisor.monitoring import gauges as gauges_module
from courante.supervisor.monitoring.meter import Meter as LogMeter
from courante.supervisor.recording.projections import Projection
from integration.cases import node, waits
from integration.flaky import Flaky
from integration.journal import step
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
Scrape = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(sources: Sources) -> Scrape:
    """Return all samples of one scrape."""
    _, content = Exposition(sources, {"env": "e"}).write("")
    return {
        (sample.name, frozenset(sample.labels.items()) - {("env", "e")}): sample.value
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
    }


def value(found: Scrape, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0)


@pytest.fixture(autouse=True)
def _read_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges_module, "LOOK_S", 0.1)
    monkeypatch.setattr(gauges_module, "COUNT_S", 0.1)


async def test_steps_are_counted_by_their_outcome(stage: Stage) -> None:
    """Worker and log agree: two retries, a success, a failure that is a dead letter."""
    worker = stage.worker(Flaky().steps(), meter=Meter())
    supervisor = stage.supervisor(counts=True)
    retry = {"max_attempts": 3, "base": "1ms"}
    await stage.register(step("a", "flaky", retry=retry), step("c", "flaky", "a"), id="good")
    await stage.register(step("b", "bad"), id="bad")
    assert (await stage.run("good", 1)).status == "COMPLETED"
    assert (await stage.run("bad", 1)).status == "FAILED"
    theirs = scrape(worker.series)
    for name, found in (
        ("courante_worker_attempts_total", theirs),
        ("courante_attempts_total", scrape(supervisor.series)),
    ):
        assert value(found, name, workflow="good", step="a", outcome="retried") == 2
        assert value(found, name, workflow="good", step="a", outcome="succeeded") == 1
        assert value(found, name, workflow="bad", step="b", outcome="failed") == 1
    assert value(theirs, "courante_worker_attempt_seconds_count", workflow="good", step="a") == 3
    assert value(theirs, "courante_worker_held_steps") == 0
    assert value(theirs, "courante_worker_slots") == 128
    assert value(theirs, "courante_worker_queue_seconds_count", queue="default", priority="normal") >= 4
    ours = scrape(supervisor.series)
    assert value(ours, "courante_retries_total", workflow="good", step="a") == 2
    assert value(ours, "courante_dead_letters_total", workflow="bad", step="b") == 1
    assert value(ours, "courante_runs_started_total", workflow="good") == 1
    assert value(ours, "courante_runs_ended_total", workflow="good", status="COMPLETED") == 1
    assert value(ours, "courante_runs_ended_total", workflow="bad", status="FAILED") == 1
    assert value(ours, "courante_run_seconds_count", workflow="bad") == 1
    events = len(await stage.events((await stage.run("good", 1)).run_id))
    assert value(scrape(supervisor.series), "courante_recorded_events_total", partition="0") > events


async def test_what_the_servers_say_is_read_now_and_then(stage: Stage) -> None:
    """Queues by priority with their age, open runs, timers, dead letters, workers, health."""
    supervisor = stage.supervisor(counts=True)
    assert supervisor.unready() == ["it has not begun"]
    await stage.register(step("a", "nobody", queue="gpu", priority="high"), id="stands")
    await stage.register(node("w", type="wait", config={"for": "1h"}), id="sleeps")
    worker = stage.worker(meter=Meter())
    await stage.client.submit("stands", 1)
    await stage.client.submit("sleeps", 1)

    async def look() -> Scrape:
        return scrape(supervisor.series)

    def is_read(found: Scrape) -> bool:
        waiting = value(found, "courante_queue_waiting", queue="gpu", priority="high")
        timers, workers = value(found, "courante_timers", partition="0"), value(found, "courante_workers")
        runs = [value(found, "courante_runs_open", status=each) for each in ("RUNNING", "WAITING", "PENDING", "PAUSED")]
        return (waiting, timers, workers, *runs) == (1, 1, 1, 1, 1, 0, 0)

    found = await until(look, is_read)
    assert value(found, "courante_queue_age_seconds", queue="gpu", priority="high") > 0
    assert value(found, "courante_queue_workers", queue="gpu") == 0
    assert value(found, "courante_redis_up") == value(found, "courante_postgres_up") == 1
    assert value(found, "courante_health") == 2
    assert value(found, "courante_health_reasons", code="queue_without_worker", severity="CRITICAL") == 1
    assert ("courante_alerts", frozenset({("kind", "run.stuck")})) in found
    assert supervisor.unready() == worker.unready() == []
    worker.stop()
    supervisor.stop()
    assert supervisor.unready() == worker.unready() == ["it is stopping"]


async def test_runs_of_before_are_counted_under_their_workflow(stage: Stage) -> None:
    """A supervisor that did not see a run begin looks its workflow up."""
    worker, first = stage.worker(), stage.supervisor()
    run_id = await stage.client.submit(await stage.register(waits("w", name="go"), id="long"))
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    first.stop()
    await stage.ends[1].wait()
    second = stage.supervisor(counts=True)
    await stage.client.signal(run_id, "go")
    assert (await stage.result(run_id)).status == "COMPLETED"

    async def look() -> Scrape:
        return scrape(second.series)

    found = await until(
        look, lambda found: value(found, "courante_runs_ended_total", workflow="long", status="COMPLETED") == 1
    )
    assert value(found, "courante_runs_started_total", workflow="long") == 0
    assert value(found, "courante_attempts_total", workflow="long", step="w", outcome="succeeded") == 1
    assert worker.unready() == []


async def test_there_are_never_more_names_than_agreed(stage: Stage) -> None:
    """Of a third step nothing but its sum is told."""
    worker = stage.worker(meter=Meter(most=2))
    stage.supervisor()
    nodes = [node(name, type="noop") for name in ("a", "b", "c", "d")]
    await stage.run(await stage.register(*nodes), 1)
    found = scrape(worker.series)
    told = {dict(labels)["step"]: count for (name, labels), count in found.items() if name.endswith("attempts_total")}
    assert len(told) == 3
    assert told["other"] == 2


async def test_there_are_never_more_queues_than_agreed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in the others is added up under one name, and that nobody reads one of them is seen."""
    monkeypatch.setattr(gauges_module, "QUEUES_MAX", 2)
    supervisor = stage.supervisor(counts=True)
    stage.worker(queues=["a", "b", "c"])
    names = ("a", "b", "c", "d")
    for name in names:
        await stage.register(step("s", "nobody", queue=name), id=f"w-{name}")
    first = [await stage.client.submit(f"w-{name}", 1) for name in names[:2]]

    async def look() -> Scrape:
        return scrape(supervisor.series)

    def queues(found: Scrape) -> set[str]:
        return {dict(labels)["queue"] for _, labels in found if "queue" in dict(labels)}

    await until(look, lambda found: {"a", "b"} <= queues(found))
    rest = [await stage.client.submit(f"w-{name}", number) for name in names[2:] for number in range(2)]
    waits = {"queue": "other", "priority": "normal"}
    found = await until(look, lambda found: value(found, "courante_queue_waiting", **waits) == 2)
    assert queues(found) == {"a", "b", "other"}
    assert value(found, "courante_queue_workers", queue="a") == 1
    assert value(found, "courante_queue_workers", queue="other") == 0
    assert len(first + rest) == 6


async def test_without_a_meter_nothing_is_kept(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody scrapes, no batch keeps its events, and no counting begins."""
    told: list[object] = []
    project = Projection.write

    async def write(self: Projection, *arguments: Any) -> None:
        told.append(self.told)
        await project(self, *arguments)

    monkeypatch.setattr(Projection, "write", write)
    for name in ("Meter", "Gauges"):
        monkeypatch.delattr(counting_module, name)
    assert LogMeter is not None
    stage.worker()
    supervisor = stage.supervisor()
    await stage.run(await stage.register(node("a", type="noop")), 1)
    assert set(told) == {None}
    assert supervisor.series() == []
