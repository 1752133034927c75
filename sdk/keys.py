"""Keys: where everything lives in Redis. The dictionary is lua/KEYS.md."""

from __future__ import annotations

import re

ENVIRONMENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class Keys:
    """The keys of one environment. ``env`` is checked: it becomes part of every key."""

    def __init__(self, env: str) -> None:
        if not ENVIRONMENT.fullmatch(env):
            raise ValueError(f"{env!r} is no name of an environment: use a-z, 0-9, _ and -, at most 64 characters")
        self.env = env
        self.prefix = f"courante:{env}:"

    def partition(self, partition: int) -> PartitionKeys:
        return PartitionKeys(self.prefix, partition)

    def ir(self, ir_hash: str) -> str:
        return f"{self.prefix}ir:{ir_hash}"

    def blob(self, digest: str) -> str:
        return f"{self.prefix}blob:{digest}"

    def cached(self, key: str) -> str:
        """``key``: ``<workflow>:<step>:<hash>``."""
        return f"{self.prefix}cache:{key}"

    def cache_lock(self, key: str) -> str:
        return f"{self.prefix}cache-lock:{key}"

    @property
    def cache_floors(self) -> str:
        return f"{self.prefix}cache-floors"


class PartitionKeys:
    """The keys of one partition: all carry its hash tag, so that one script can touch them all."""

    def __init__(self, prefix: str, partition: int) -> None:
        self.base = f"{prefix}{{{partition}}}:"
        self.meta = f"{self.base}meta"
        self.outbox = f"{self.base}outbox"
        self.done = f"{self.base}done"
        self.timers = f"{self.base}timers"
        self.submit = f"{self.base}submit"
        self.rejected = f"{self.base}rejected"
        self.ended = f"{self.base}ended"
        self.recorded = f"{self.base}recorded"
        self.workers = f"{self.base}workers"
        self.paused = f"{self.base}paused"
        self.queues = f"{self.base}queues"
        self.step_log = f"{self.base}steplog"

    def run(self, run_id: str) -> str:
        return f"{self.base}run:{run_id}"

    def partial(self, run_id: str) -> str:
        return f"{self.base}partial:{run_id}"

    def talk(self, run_id: str) -> str:
        return f"{self.base}talk:{run_id}"

    def queue(self, stream: str) -> str:
        """``stream``: ``queue:priority``."""
        return f"{self.base}q:{stream}"

    def worker(self, consumer: str) -> str:
        return f"{self.base}worker:{consumer}"
