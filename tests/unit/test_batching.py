"""What is asked together is served once it was put there, also by whoever comes after one that was cancelled."""

from __future__ import annotations

import anyio
import pytest

from courante.runner.batching import Answer, Batcher

pytestmark = pytest.mark.anyio


async def test_a_flush_serves_what_was_being_served_when_the_loop_ended() -> None:
    served: list[list[int]] = []
    entered, is_free = anyio.Event(), anyio.Event()

    async def serve(some: list[int]) -> None:
        entered.set()
        await is_free.wait()
        served.append(some)

    batcher = Batcher(serve, 2)
    async with anyio.create_task_group() as group:
        group.start_soon(batcher.run)
        for number in range(3):
            batcher.put(number)
        await entered.wait()
        batcher.put(3)
        group.cancel_scope.cancel()
    assert served == []
    is_free.set()
    await batcher.flush()
    assert served == [[0, 1], [2, 3]]
    await batcher.flush()
    assert len(served) == 2


@pytest.mark.parametrize("is_early", [True, False], ids=["given before", "given after"])
async def test_an_answer_that_nobody_waits_for_any_more_is_dropped(is_early: bool) -> None:
    dropped: list[int] = []
    answer = Answer[int](dropped.append)
    with anyio.CancelScope() as scope:
        scope.cancel()
        if is_early:
            answer.give(1)
        await answer.wait()
    if not is_early:
        assert dropped == []
        answer.give(1)
    assert dropped == [1]


async def test_an_answer_is_had_once() -> None:
    dropped: list[int] = []
    answer = Answer[int](dropped.append)
    answer.give(1)
    assert (await answer.wait(), dropped) == (1, [])
