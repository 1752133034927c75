"""Slots that the lanes of several partitions share."""

from __future__ import annotations

import anyio
import pytest

from courante.runner.slots import Slots

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_all_who_wait_hear_of_a_free_slot() -> None:
    """None of them takes the word from the others; who finds the slot taken again waits on."""
    slots = Slots(1)
    slots.take(1)
    woken: list[int] = []

    async def wait(number: int) -> None:
        await slots.wait()
        woken.append(number)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
            slots.give()
    assert sorted(woken) == [0, 1, 2]
    slots.take(1)
    with anyio.move_on_after(0.01) as patience:
        await slots.wait()
    assert patience.cancelled_caught
