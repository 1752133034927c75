"""A lane: one worker's traffic with one partition. One loop, one round trip in it.

``_pump`` sends what has finished and takes what comes back; ``_listen`` waits in a blocking read, with slots
reserved, for what arrives while there is nothing to send. Neither ever times out a read: what a cancelled read had
been given would stay pending.
"""

from __future__ import annotations

import random
from collections import deque

import anyio
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ..sdk.keys import PartitionKeys
from ..sdk.scripts import QUEUE_GROUP, Advanced, BackPressure, Closed, Word, advance, open_partition
from ..sdk.streams import read_group
from .execution import Executor
from .settling import Transition
from .slots import Slots

WRITES_MAX = 900
"""About how many writes one call may make; the rest goes with the next."""
RESERVED_MAX = 4
"""Slots that a blocking read keeps: the first reader in line is given everything."""
BLOCK_MS = 2_000
BACKOFF_S_MAX = 5.0
STREAM_NAMES = ("high", "normal", "low")
log = structlog.get_logger()


class Lane:
    """Reads ``queues`` of one partition for ``consumer``, within ``slots`` shared with other lanes."""

    def __init__(
        self,
        *,
        redis: Redis,
        listener: Redis,
        keys: PartitionKeys,
        consumer: str,
        queues: list[str],
        executor: Executor,
        slots: Slots,
        outbox_soft_max: int,
        outbox_hard_max: int,
    ) -> None:
        self._redis = redis
        self._listener = listener
        self._keys = keys
        self._consumer = consumer
        names = [f"{queue}:{priority}" for priority in STREAM_NAMES for queue in ("system", *queues)]
        self.streams = [keys.queue(name) for name in names]
        self._numbers = {stream: i + 1 for i, stream in enumerate(self.streams)}
        self._executor = executor
        self._slots = slots
        self._limits = (str(outbox_soft_max), str(outbox_hard_max))
        self._finished: deque[Transition] = deque()
        self._opened: list[tuple[int, str]] = []
        self._wake = anyio.Event()
        self._call = 0
        self._held = 0
        self._stopping = anyio.Event()
        self._is_listening = True
        self._listener_id = 0
        self.applied = 0
        self.refused = 0

    async def run(self) -> None:
        """Work until ``stop`` was called and everything held is finished."""
        await self._open()
        async with anyio.create_task_group() as group:
            await group.start(self._executor.run, self._finish, self._note)
            group.start_soon(self._listen)
            group.start_soon(self._unblock_when_stopped)
            await self._pump()
            self._executor.stop()

    def stop(self) -> None:
        """Take no more. What is held goes on."""
        self._stopping.set()
        self._wake.set()

    def _finish(self, transition: Transition) -> None:
        """A token is settled: its slot is free, its transition goes with the next call."""
        self._finished.append(transition)
        self._held -= 1
        self._slots.give()
        self._wake.set()

    def _note(self, transition: Transition) -> None:
        self._finished.append(transition)
        self._wake.set()

    async def _open(self) -> None:
        """Make the groups of the streams; wait while the partition is closed."""
        while True:
            try:
                await open_partition(
                    self._redis, self._keys, [(stream, QUEUE_GROUP) for stream in self.streams], epoch=None
                )
                self._listener_id = int(await self._listener.client_id())
                return
            except Closed:
                log.warning("partition_closed", partition=self._keys.base)
                await anyio.sleep(0.5)
            except RedisError as error:
                log.warning("redis_unreachable", error=str(error))
                await anyio.sleep(0.5)

    async def _pump(self) -> None:
        is_first = True
        while True:
            if not (self._finished or self._opened or is_first):
                if not self._is_listening and self._held == 0:
                    return
                self._wake = anyio.Event()
                await self._wake.wait()
                continue
            is_first = False
            batch: list[Transition] = []
            writes = 0
            while self._finished and writes < WRITES_MAX:
                transition = self._finished.popleft()
                writes += transition.writes
                batch.append(transition)
            opened, self._opened = self._opened, []
            want = 0 if self._stopping.is_set() else max(0, self._slots.free)
            self._slots.take(want)
            answer = await self._advance(batch, opened, want)
            tokens = answer.tokens
            self._slots.give(want + len(opened) - len(tokens))
            self._held += len(tokens)
            for token in tokens:
                self._executor.receive(token, answer.now_ms)

    async def _advance(self, batch: list[Transition], opened: list[tuple[int, str]], want: int) -> Advanced:
        """One call, repeated under the same number until it is answered."""
        self._call += 1
        words: list[Word] = [self._consumer, self._call, want, *self._limits, len(opened)]
        for number, entry in opened:
            words += (number, entry)
        for transition in batch:
            words += transition.words
        delay = 0.05
        while True:
            try:
                answer = await advance(self._redis, self._keys, self._consumer, self.streams, words)
                break
            except BackPressure:
                log.warning("outbox_full", partition=self._keys.base)
            except Closed:
                log.warning("partition_closed", partition=self._keys.base)
            except ResponseError as error:
                log.error("advance_refused", error=str(error))
                if "NOGROUP" in str(error):
                    await self._open()
            except (RedisError, OSError) as error:
                log.warning("redis_unreachable", error=str(error))
            await anyio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            delay = min(BACKOFF_S_MAX, delay * 2)
        self.applied += answer.verdicts.count("A")
        if len(batch) != answer.verdicts.count("A"):
            self._note_refused(batch, answer.verdicts)
        return answer

    def _note_refused(self, batch: list[Transition], verdicts: str) -> None:
        for transition, verdict in zip(batch, verdicts, strict=True):
            if verdict != "A":
                self.refused += 1
                log.warning("transition_refused", verdict=verdict, run_id=transition.words[0], token=transition.words[1])

    async def _listen(self) -> None:
        """Wait in a blocking read whenever slots are free."""
        while not self._stopping.is_set():
            await self._slots.wait()
            reserved = min(RESERVED_MAX, max(0, self._slots.free))
            if not reserved:
                continue
            self._slots.take(reserved)
            found = await self._read(reserved)
            self._slots.give(reserved - len(found))
            if found:
                self._opened += found
                self._wake.set()
        self._is_listening = False
        self._wake.set()

    async def _read(self, count: int) -> list[tuple[int, str]]:
        """One blocking read; returns (number of the stream, entry id)."""
        try:
            page = await read_group(
                self._listener, QUEUE_GROUP, self._consumer, self.streams, count=count, block_ms=BLOCK_MS
            )
            return [(self._numbers[stream], entry) for stream, entries in page for entry, _ in entries]
        except ResponseError as error:
            log.warning("read_refused", error=str(error))
            await anyio.sleep(0.2)
            if "NOGROUP" in str(error):
                await self._open()
        except (RedisError, OSError) as error:
            log.warning("redis_unreachable", error=str(error))
            await anyio.sleep(0.2)
        return []

    async def _unblock_when_stopped(self) -> None:
        """End the blocking read at once, without losing what it may have been given."""
        await self._stopping.wait()
        while self._is_listening:
            try:
                await self._redis.client_unblock(self._listener_id)
            except (RedisError, OSError) as error:
                log.warning("redis_unreachable", error=str(error))
            await anyio.sleep(0.02)
