"""Workers as they travel."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...sdk.moments import iso_text
from ...sdk.stores.workers import WorkerRow
from .moments import Moment, moment


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """``build``: version of its code. ``stopped_at``: an orderly stop."""

    worker: str
    host: str
    pid: int
    build: str
    steps: list[str]
    queues: list[str]
    started_at: Moment
    last_seen: Moment
    stopped_at: Moment | None


class WorkerPage(msgspec.Struct, frozen=True, kw_only=True):
    """The one that was seen last comes first."""

    workers: list[Worker]


def worker_page(found: Sequence[WorkerRow]) -> WorkerPage:
    return WorkerPage(
        workers=[
            Worker(
                worker=one.consumer,
                host=one.host,
                pid=one.pid,
                build=one.build,
                steps=list(one.handlers),
                queues=list(one.queues),
                started_at=iso_text(one.started_at),
                last_seen=iso_text(one.last_seen),
                stopped_at=moment(one.stopped_at),
            )
            for one in found
        ]
    )
