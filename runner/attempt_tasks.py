"""Attempt tasks: the tasks of the attempts that a lane has under way.

They are in no task group, for a group ends with its last task, and a handler that catches every cancellation never
ends: such a one is left behind, as a plain handler is in its thread, and neither its lane nor the process waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

END_S = 1.0
"""How long those are waited for that are cancelled because their lane ends at once."""


class AttemptTasks:
    """``on_fault``: called when one of them has raised what no attempt raises; ``end`` raises it then."""

    def __init__(self, on_fault: Callable[[], None]) -> None:
        self._on_fault = on_fault
        self._tasks: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None
        self._is_over = False

    def is_over(self) -> bool:
        """Whether all are cancelled, because nobody wants anything of them any more."""
        return self._is_over

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def leave(self, task: asyncio.Task[None]) -> None:
        """Wait for it no more, not even when the event loop closes: it may never end."""
        self._tasks.discard(task)
        # else the loop's end waits for it; documented for tasks of one's own kind: "Extending asyncio"
        asyncio.tasks._unregister_task(task)  # noqa: SLF001 - see above  # pyright: ignore[reportPrivateUsage]
        setattr(task, "_log_destroy_pending", False)  # noqa: B010 - typeshed does not know it

    async def end(self) -> None:
        """Cancel all, and wait a moment for them. Raises what one of them has raised."""
        self._is_over = True
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(tasks, timeout=END_S)
        for task in tasks:
            if not task.done():
                self.leave(task)
        if self._fault is not None:
            raise self._fault

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fault = self._fault or task.exception()
            self._on_fault()
