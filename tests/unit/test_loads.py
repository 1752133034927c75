"""A payload that many tokens wait for is read once at a time; one that could not be read is read by the next."""

import anyio
import pytest

from courante.runner.item_lists import ItemLists
from courante.runner.loads import Loads
from courante.sdk.floor.payloads import PayloadMissing

pytestmark = pytest.mark.anyio


class Store:
    """Answers when it is told to; ``failures``: how many of the first calls fail."""

    def __init__(self, failures: int = 0) -> None:
        self.asked: list[bytes] = []
        self.go = anyio.Event()
        self.failures = failures

    async def load(self, reference: bytes) -> bytes:
        self.asked.append(reference)
        await self.go.wait()
        if len(self.asked) <= self.failures:
            raise PayloadMissing("gone")
        return bytes(bytearray(b"content of " + reference))


async def bring_all(loads: Loads, store: Store, references: list[bytes]) -> list[bytes | Exception]:
    found: list[bytes | Exception] = [b""] * len(references)

    async def bring(at: int) -> None:
        try:
            found[at] = await loads.bring(references[at])
        except PayloadMissing as error:
            found[at] = error

    async with anyio.create_task_group() as group:
        for at in range(len(references)):
            group.start_soon(bring, at)
        await anyio.wait_all_tasks_blocked()
        store.go.set()
    return found


async def test_many_wait_for_one_load() -> None:
    store = Store()
    loads = Loads(store.load)
    found = await bring_all(loads, store, [b"a"] * 100 + [b"b"])
    assert store.asked == [b"a", b"b"]
    assert found == [b"content of a"] * 100 + [b"content of b"]
    assert all(content is found[0] for content in found[:100])
    assert await loads.bring(b"a") == b"content of a"
    assert len(store.asked) == 3  # nothing is kept


async def test_a_load_that_fails_fails_its_own_token_only() -> None:
    store = Store(failures=2)
    found = await bring_all(Loads(store.load), store, [b"a"] * 5)
    assert [isinstance(content, Exception) for content in found] == [True, True, False, False, False]
    assert len(store.asked) == 3


async def test_a_load_that_is_cancelled_is_taken_over() -> None:
    store = Store()
    loads = Loads(store.load)
    with anyio.CancelScope() as first:
        async with anyio.create_task_group() as group:
            group.start_soon(loads.bring, b"a")
            await anyio.wait_all_tasks_blocked()
            first.cancel()
    assert await bring_all(loads, store, [b"a"]) == [b"content of a"]


def test_a_list_that_comes_twice_is_kept_once() -> None:
    lists = ItemLists()
    lists.keep(b"@one", b"[1,2]")
    before = lists.size_bytes
    lists.keep(b"@one", b"[1,2]")
    assert lists.size_bytes == before
