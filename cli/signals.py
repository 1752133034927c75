"""Signals: the first SIGINT or SIGTERM asks to end in order, every further one to end at once."""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus


async def watch_signals(
    first: Callable[[], None], then: Callable[[], None], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Call ``first`` once and ``then`` for all that follow, until cancelled. Started when the signals are caught."""
    is_told = False
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            (then if is_told else first)()
            is_told = True
