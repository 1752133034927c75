"""What can be undone, and what undoes it, is executed each time, whatever was kept."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


async def test_what_was_done_twice_is_undone_twice(stage: Stage) -> None:
    """Also where a cache is the default of all steps, and what is undone looks the same; and no run undoes what another
    one has done.
    """
    calls: Counter[str] = Counter()

    def book(value: Any) -> Any:
        calls["book"] += 1
        return value

    def unbook(value: Any) -> Any:
        calls["unbook"] += 1
        return value

    def fail() -> None:
        raise ValueError("full")

    stage.worker({"book": book, "unbook": unbook, "fail": fail})
    stage.supervisor()
    nodes: list[dict[str, Any]] = [
        {"id": "a", "type": "function", "config": {"handler": "book"}, "compensate": "u"},
        {"id": "u", "type": "function", "config": {"handler": "unbook"}},
        {"id": "f", "type": "function", "config": {"handler": "fail"}, "depends_on": "a", "max_retries": 0},
    ]
    workflow = await stage.register(*nodes, defaults={"cache": "global"})
    locks = f"{stage.client.keys.prefix}cache-lock:*"

    async def held() -> list[bytes]:
        return [key async for key in stage.redis.scan_iter(match=locks)]

    for number in (1, 2):
        assert (await stage.run(workflow, {"seat": 4})).status == "FAILED"
        assert calls == {"book": number, "unbook": number}
        await until(held, lambda found: not found)
