"""The event loop of a command, or of a daemon."""

from __future__ import annotations

import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")

DAEMON_GC = (50_000, 20, 20)
"""Thresholds of the garbage collector. A batch of the recorder makes tens of thousands of objects and keeps them all:
with Python's own 700 it took a sixth of the recorder's time."""


def run_async(function: Callable[[], Coroutine[Any, Any, T]], *, is_daemon: bool = False) -> T:
    """Run a coroutine function to its end. is_daemon: on uvloop, where it exists, with rare garbage collections."""
    options: dict[str, Any] = {}
    if is_daemon:
        gc.freeze()
        gc.set_threshold(*DAEMON_GC)
        try:
            import uvloop
        except ImportError:  # Windows
            pass
        else:
            options["loop_factory"] = uvloop.new_event_loop
    return anyio.run(function, backend_options=options)
