"""Retries of runs that failed by the items of a map: those that failed are executed again, and no others."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from courante.sdk.floor.starting import StartWindow
from courante.sdk.keys import PartitionKeys
from integration.cases import node
from integration.journal import step
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


class Items:
    """Items whose name stands in ``broken`` fail; the others wait until one has."""

    def __init__(self, *broken: str) -> None:
        self.broken = set(broken)
        self.tries: Counter[str] = Counter()
        self.failed = anyio.Event()

    async def work(self, name: str) -> str:
        self.tries[name] += 1
        if name in self.broken:
            self.failed.set()
            raise ConnectionError(f"{name} is away")
        await self.failed.wait()
        return name.upper()


def mapped(**config: Any) -> list[dict[str, Any]]:
    return [
        node("each", type="map", config={"items": "input", **config}),
        step("work", "work", "each", retry={"max_attempts": 1}),
        node("all", "work", type="aggregate"),
    ]


@pytest.mark.parametrize("config", [{}, {"max_concurrency": 3}])
async def test_only_what_failed_is_executed_again(stage: Stage, config: dict[str, Any]) -> None:
    """Also where others succeeded after it had failed; and again, where it fails again."""
    items = Items("b", "d")
    stage.worker({"work": items.work})
    stage.supervisor()
    await stage.register(*mapped(**config))
    first = await stage.run("w", list("abcde"))
    assert (first.status, items.tries) == ("FAILED", Counter("abcde"))
    told = await stage.client.retry(first.run_id, dry_run=True)
    assert (told.way, told.why) == ("reenacted", {"work": "failed", "all": "follows"})
    assert told.scopes == {"work": ("each[1]", "each[3]")}
    items.broken.remove("b")
    again = await stage.client.retry(first.run_id)
    assert again.run_id == told.run_id
    assert (await stage.result(again.run_id)).status == "FAILED"
    assert items.tries == Counter("abcdebd")
    assert not (await stage.client.retry(first.run_id)).is_new
    items.broken.clear()
    last = await stage.result((await stage.client.retry(again.run_id)).run_id)
    assert (last.status, last.output) == ("COMPLETED", {"all": list("ABCDE")})
    assert items.tries == Counter("abcdebdd")


async def test_what_waits_beside_it_goes_on(stage: Stage) -> None:
    """Where something else was under way the run goes on from there: who was asked is not asked anew."""
    items = Items("b")
    stage.worker({"work": items.work})
    stage.supervisor()
    await stage.register(*mapped(), node("ask", type="approval", config={"expires": "1h"}), node("end", "ask"))
    run_id = await stage.client.submit("w", list("ab"))
    assert (await stage.result(run_id)).status == "FAILED"
    items.broken.clear()
    again = await stage.client.retry(run_id)
    assert again.way == "resumed"
    await until(lambda: stage.succeeded(again.run_id), lambda names: "all" in names)
    await stage.client.approve(again.run_id, "ask", by="ann")
    assert (await stage.result(again.run_id)).status == "COMPLETED"


async def test_a_base_may_take_long_to_read(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a start may be applied that was looked at in Postgres: then that is looked at again."""
    items = Items("b")
    stage.worker({"work": items.work})
    supervisor = stage.supervisor()
    await stage.register(*mapped())
    first = await stage.run("w", list("ab"))
    supervisor.stop()
    now, asked = StartWindow.now, list[int]()

    async def past(redis: Redis, *partitions: PartitionKeys) -> StartWindow | None:
        found = await now(redis, *partitions)
        asked.append(1)
        return found if found is None or len(asked) > 1 else found._replace(until_ms=1)

    monkeypatch.setattr(StartWindow, "now", past)
    items.broken.clear()
    again = await stage.client.retry(first.run_id)
    assert len(asked) == 2
    stage.supervisor()
    assert (await stage.result(again.run_id)).status == "COMPLETED"
