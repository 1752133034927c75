"""Folds of the API: a long log is followed in slices, and what is made of it is made in a thread: nobody is held up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from courante.api.aside import folding
from courante.api.reading import runs as run_reading
from courante.api.routes import states
from courante.replay.state import StateReader
from courante.sdk import slices
from courante.sdk.access.scopes import Scope
from courante.sdk.reenactment.reenacting import Enacting
from courante.sdk.restarts import bases, given, reruns
from courante.sdk.stores import log, runs
from integration.api_asking import asking
from integration.onlooking import Threads, Turns, counted_turns
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
NODES = [{"id": f"n{number}", "type": "noop"} for number in range(12)]


@pytest.fixture
async def turns() -> AsyncIterator[Turns]:
    async with counted_turns() as made:
        yield made


async def ended(stage: Stage) -> str:
    """A run of some forty events."""
    await stage.register(*NODES)
    stage.worker()
    stage.supervisor()
    return (await stage.run("w")).run_id


async def test_a_log_is_followed_in_slices(stage: Stage, turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a slice is over after each event others have their turn after each; its steps and its chain likewise."""
    run_id = await ended(stage)
    count = len(await stage.events(run_id))
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    for module, name in ((StateReader, "add"), (log, "ChainRow"), (log, "_fault"), (runs, "_step")):
        monkeypatch.setattr(module, name, turns.noting(getattr(module, name)))
    async with asking(stage.client, Scope.READ) as api:
        for path, least in {
            f"/v1/runs/{run_id}/state": count,
            f"/v1/runs/{run_id}/diff?from=1&to={count}": count,
            f"/v1/runs/{run_id}/audit": count,
            f"/v1/runs/{run_id}": len(NODES),
        }.items():
            turns.forget()
            assert (await api.get(path)).status_code == 200
            assert turns.seen >= least, path
    turns.forget()
    async with stage.client.pool.acquire() as conn:
        assert await log.verify_chain(conn, run_id) is None
    assert turns.seen >= count


async def test_what_is_made_of_a_log_is_made_in_a_thread(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """States and what differs between them, a run with many steps, and a run that is played again."""
    run_id = await ended(stage)
    threads = Threads(monkeypatch)
    threads.watch(
        (StateReader, "state"),
        (run_reading, "step_views"),
        (run_reading.RunView, "detail"),
        (reruns, "restart_plan"),
        (bases, "restart_plan"),
        (given, "restart_plan"),
        (given, "without_dependents"),
        (Enacting, "go_on"),
        (Enacting, "enacted"),
    )
    monkeypatch.setattr("courante.api.aside.MANY", 3)
    async with asking(stage.client, Scope.READ, Scope.OPERATE) as api:
        for path in (f"/v1/runs/{run_id}/state", f"/v1/runs/{run_id}/diff?from=1&to=9", f"/v1/runs/{run_id}"):
            assert (await api.get(path)).status_code == 200
        asked: list[tuple[str, dict[str, object]]] = [
            ("rerun", {"steps": ["n3"]}),
            ("fork", {"at": 9}),
            ("fork", {"at": 9, "override": {"n11": 1}}),
        ]
        for name, body in asked:
            answer = await api.post(f"/v1/runs/{run_id}/{name}", json={**body, "dry_run": True})
            assert answer.status_code == 200, answer.text
    assert set(threads.seen) == {
        "state", "step_views", "detail", "restart_plan", "without_dependents", "go_on", "enacted"
    }  # fmt: skip
    assert not threads.here()


async def test_who_follows_logs_leaves_connections_to_others(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask for states at once, there is a connection for whoever wants something short."""
    run_id = await ended(stage)
    go_on = anyio.Event()

    async def follow(*_: object) -> list[dict[str, Any]]:
        await go_on.wait()
        return [{}]

    async def busy() -> int:
        return pool.get_size() - pool.get_idle_size() if folding.borrowed_tokens == folding.total_tokens else 0

    monkeypatch.setattr(states, "read_states", follow)
    pool = stage.client.pool
    async with asking(stage.client, Scope.READ) as api, anyio.create_task_group() as group:
        for _ in range(2 * pool.get_max_size()):
            group.start_soon(api.get, f"/v1/runs/{run_id}/state")
        taken = await until(busy, lambda count: count >= folding.total_tokens)
        go_on.set()
        assert taken < pool.get_max_size()
