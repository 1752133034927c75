"""Slots that several lanes share: nobody takes them all, and everybody has a turn."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from courante.runner.slots import Slots

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(("total", "lanes", "share"), [(4, 1, 4), (4, 3, 1), (1, 3, 1), (128, 8, 16)])
def test_a_share(total: int, lanes: int, share: int) -> None:
    """Of few slots everybody keeps one, of many the same part."""
    assert Slots(total, lanes).share == share


async def test_who_listens_again_goes_behind_the_others() -> None:
    """F20: three lanes share one slot; each has it as often as the others."""
    slots = Slots(1, 3)
    turns: list[int] = []

    async def listen(lane: int) -> None:
        for _ in range(5):
            await slots.wait()
            slots.take(1)
            turns.append(lane)
            await anyio.lowlevel.checkpoint()
            slots.give()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for lane in range(3):
                group.start_soon(listen, lane)
    assert slots.free == 1
    assert [sorted(turns[at : at + 3]) for at in range(0, 15, 3)] == [[0, 1, 2]] * 5


async def test_who_gives_up_waiting_holds_up_nobody() -> None:
    """F20: a lane that is cancelled in the line passes its turn on."""
    slots = Slots(1, 2)
    slots.take(1)
    served = anyio.Event()

    async def wait() -> None:
        await slots.wait()
        served.set()

    async with anyio.create_task_group() as group:
        with anyio.move_on_after(0):
            await slots.wait()
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        slots.give()
        with anyio.fail_after(10):
            await served.wait()
