"""Batching: what tasks ask for at about the same time is asked together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class Batcher(Generic[T]):
    """Hands what was put into it to ``serve``, all that has come meanwhile at once, at most ``most``, in order.

    ``serve`` ends before the next batch is served, and raises nothing that is not meant to end the worker.
    """

    def __init__(self, serve: Callable[[list[T]], Awaitable[None]], most: int) -> None:
        self._serve = serve
        self._most = most
        self._waiting: list[T] = []
        self._there = anyio.Event()

    def put(self, one: T) -> None:
        self._waiting.append(one)
        self._there.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._there.wait()
            await self.flush()

    async def flush(self) -> None:
        """Serve what is there. What was being served when this is cancelled is served again by the next flush."""
        self._there = anyio.Event()
        while self._waiting:
            some = self._waiting[: self._most]
            await self._serve(some)
            del self._waiting[: len(some)]


class Answer(Generic[T]):
    """What one task waits for and another one gives, once.

    ``drop``: takes what nobody waits for any more, because who did was cancelled.
    """

    __slots__ = ("_drop", "_is_dropped", "_there", "_value")

    def __init__(self, drop: Callable[[T], object] = lambda _: None) -> None:
        self._there = anyio.Event()
        self._drop = drop
        self._is_dropped = False

    def give(self, value: T) -> None:
        self._value = value
        self._there.set()
        if self._is_dropped:
            self._drop(value)

    async def wait(self) -> T:
        try:
            await self._there.wait()
        except anyio.get_cancelled_exc_class():
            self._is_dropped = True
            if self._there.is_set():
                self._drop(self._value)
            raise
        return self._value
