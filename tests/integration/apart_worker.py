"""A worker with a thread and an event loop of its own: a step that blocks it blocks nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import anyio

from courante.runner.terms import Terms
from courante.runner.worker import Worker
from integration.stage import Stage, steps_of


@contextmanager
def worker_apart(
    stage: Stage,
    steps: Mapping[str, Callable[..., Any]],
    leave: threading.Event,
    *,
    redis_url: str = "",
    partitions: Sequence[int] = (0,),
    **terms: int,
) -> Generator[Worker]:
    """Start it; at the end set ``leave``, which lets its steps go on, and stop it.

    redis_url: its own way to Redis. terms: see ``runner.terms``.
    """
    made: list[Worker] = []
    begun, stop = threading.Event(), threading.Event()

    async def work() -> None:
        place = stage.place
        worker = Worker(
            redis_url=redis_url or place.redis_url,
            env=place.env,
            partitions=partitions,
            steps=steps_of(steps),
            terms=Terms(**terms),
        )
        made.append(worker)
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            begun.set()
            await anyio.to_thread.run_sync(stop.wait)
            worker.stop()

    thread = threading.Thread(target=anyio.run, args=(work,), daemon=True)
    thread.start()
    assert begun.wait(20)
    try:
        yield made[0]
    finally:
        leave.set()
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
