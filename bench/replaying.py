"""Replaying: a process of its own that folds or verifies one run, and tells how long that took and what it needed.

python -m courante.bench.replaying fold|verify ENV RUN
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import anyio
import asyncpg
import msgspec

from ..replay.history import History
from ..replay.steps import StepKey, StepState
from ..replay.verify import verify_run
from ..sdk.history.lineage import read_lineage
from ..sdk.stores.log import stream_events
from .machine import PROC

if TYPE_CHECKING:
    from ..sdk.stores.connection import Connection


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """``peak_bytes``: the most that the process had; ``start_bytes``: before it began to read."""

    events: int
    decisions: int
    seconds: float
    start_bytes: int
    peak_bytes: int

    @property
    def rate(self) -> float:
        return self.events / self.seconds


async def main(what: str, env: str, run_id: str) -> Replayed:
    """Raises RuntimeError where the log does not hold together."""
    conn = await asyncpg.connect(os.environ["COURANTE_DATABASE_URL"])
    try:
        start_bytes, began = _most_bytes(), time.perf_counter()
        events, decisions = await (_verify if what == "verify" else _fold)(conn, env, run_id)
        seconds = time.perf_counter() - began
    finally:
        await conn.close()
    return Replayed(
        events=events, decisions=decisions, seconds=seconds, start_bytes=start_bytes, peak_bytes=_most_bytes()
    )


async def _verify(conn: Connection, env: str, run_id: str) -> tuple[int, int]:
    found = await verify_run(conn, env, run_id)
    if not found.ok:
        raise RuntimeError(f"the log does not hold together: {found.first_difference}")
    return found.events, found.decisions


async def _fold(conn: Connection, env: str, run_id: str) -> tuple[int, int]:
    history = History((await read_lineage(conn, env, run_id)).first, _forget)
    async for event in stream_events(conn, run_id):
        history.add(event)
    return history.marking.seq, 0


def _forget(_key: StepKey, _state: StepState) -> None:
    """What a step came to is not asked for."""


def _most_bytes() -> int:
    """The most that this process has had in memory; 0 where /proc does not tell.

    Not ``getrusage``: there a child begins with what its parent had.
    """
    try:
        lines = (PROC / "self" / "status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(anyio.run(partial(main, *sys.argv[1:4]))).decode())
