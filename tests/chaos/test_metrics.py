"""What is scraped while things go wrong, and what the shipped rules make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from chaos.processes import Process
from chaos.shapes import document, draw_orders, order, step
from chaos.site import PATIENCE_S, SHORT_LEASE_MS, Site
from scrapes import Scrape, fetch, firing, parse, promtool, value

pytestmark = pytest.mark.anyio


@pytest.fixture
def watched(site: Site) -> Site:
    """Everybody who is started serves what it counts."""
    site.settings["COURANTE_METRICS_PORT"] = "0"
    return site


async def port_of(member: Process) -> int:
    await member.until_said("metrics_served")
    (line,) = [line for line in member.said().splitlines() if "metrics_served" in line]
    return int(json.loads(line)["port"])


async def scrape(member: Process) -> Scrape:
    port = await port_of(member)
    assert member.code is None, member.said()[-4_000:]
    return parse(await anyio.to_thread.run_sync(fetch, port))


async def until(member: Process, holds: Callable[[Scrape], bool]) -> Scrape:
    """Scrape until something holds."""
    found: Scrape = {}
    with anyio.move_on_after(PATIENCE_S):
        while True:
            found = await scrape(member)
            if holds(found):
                return found
            await anyio.sleep(0.1)
    told = sorted(f"{name} {dict(labels)} {count}" for (name, labels), count in found.items() if "bucket" not in name)
    raise AssertionError("\n".join(told))


async def test_takeovers_retries_and_lag_are_scraped(watched: Site) -> None:
    """A worker dies with steps in hand: who took them over, what was tried again and where the log is, is told."""
    site = watched
    site.lease_ms = SHORT_LEASE_MS
    supervisor = site.supervisor()
    first = site.worker(fault="before_handler:3:kill9")
    await site.order(draw_orders(1, 12, ["chain", "fan", "loop"]))
    await site.order([order("retried", 2, "retried-2")])
    assert await first.wait() == -9
    worker = site.worker()
    await site.until_ended()
    found = await until(supervisor, lambda told: value(told, "courante_lease_takeovers_total") >= 1)
    assert value(found, "courante_retries_total") >= 1
    assert value(found, "courante_runs_ended_total", status="COMPLETED") >= 1
    assert value(await scrape(worker), "courante_worker_attempts_total", outcome="succeeded") >= 1
    await until(supervisor, lambda told: value(told, "courante_outbox_lag_seconds") == 0)
    await site.check()


async def test_the_rules_fire_for_what_they_are_there_for(watched: Site, tmp_path: Path) -> None:
    """Nothing where all is well; then the workers die, and then the recorder cannot write."""
    if promtool() is None:
        pytest.skip("promtool is not installed (Debian: the package prometheus): the rules are not evaluated")
    site = watched
    await site.register(document("plain", step("a"), step("b", "a")))
    supervisor, worker = site.supervisor(), site.worker()
    await site.order([order("plain", number, f"plain-{number}") for number in range(3)])
    await site.until_ended()
    well = await until(supervisor, lambda told: value(told, "courante_queue_workers", queue="default") == 1)
    assert await anyio.to_thread.run_sync(firing, tmp_path, [well]) == set()
    worker.kill()
    await site.order([order("plain", number, f"plain-{number}") for number in range(3, 6)])
    dead = await until(
        supervisor,
        lambda told: (
            value(told, "courante_queue_waiting", queue="default") > 0
            and value(told, "courante_queue_workers", queue="default") == 0
        ),
    )
    assert await anyio.to_thread.run_sync(firing, tmp_path, [well, dead]) == {"CouranteWorkersGone"}
    site.postgres.kill()
    site.worker()
    stopped = await until(
        supervisor,
        lambda told: value(told, "courante_postgres_up") == 0 and value(told, "courante_outbox_lag_seconds") > 0,
    )
    later = await until(
        supervisor,
        lambda told: value(told, "courante_outbox_lag_seconds") > value(stopped, "courante_outbox_lag_seconds") + 1,
    )
    lag = ["courante_outbox_lag_seconds"]
    fired = await anyio.to_thread.run_sync(lambda: firing(tmp_path, [stopped, later], growing=lag))
    assert {"CouranteRecorderStopped", "CouranteServerAway"} <= fired
    await site.postgres.start()
    await site.until_ended()
    await until(supervisor, lambda told: value(told, "courante_outbox_lag_seconds") == 0)
    await site.check()
