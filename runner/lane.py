"""A lane: one worker's traffic with one partition. One loop, one round trip in it.

``_pump`` sends what has finished and takes what comes back; ``_listen`` waits in a blocking read, with slots
reserved, for what arrives while there is nothing to send. Neither ever times out a read: what a cancelled read had
been given would stay pending. After a broken one the lane opens what it holds without knowing.

A batch that the script refuses is sent again one by one, so that a corrupt run stops nobody else: what is refused
alone is dropped and logged, and stays pending.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable

import anyio
import structlog
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from ..sdk.fault_points import reach
from ..sdk.floor.calling import Word
from ..sdk.floor.scripts import QUEUE_GROUP, Advanced, BackPressure, Closed, advance, open_partition
from ..sdk.keys import PartitionKeys
from .attempts import Attempts
from .execution import Executor
from .leases import Lease
from .listener import Listener
from .slots import Slots
from .transition import Transition

WRITES_MAX = 300
"""About how many writes one call may make, unless a single transition has more; the rest goes with the next. The server
does nothing else meanwhile: on a slow machine such a call takes 2 to 3 ms (``bench map``)."""
WANT_MAX = 64
"""Tokens that one call may bring, each at about the cost of two writes."""
RESERVED_MAX = 4
"""Slots that a blocking read keeps: the first reader in line is given everything."""
HELD_BACK_S = 0.5
"""Between two looks whether the outbox is below its soft limit again. Nothing is read meanwhile."""
BACKOFF_S_MAX = 5.0
OPENING_S = 5.0
"""A supervisor that starts opens a partition within this time; until then a closed one is nothing to warn of."""
STREAM_NAMES = ("high", "normal", "low")
PASSING = (
    "NOGROUP",
    "BUSY",
    "LOADING",
    "OOM",
    "MISCONF",
    "READONLY",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
)
"""Refusals that are about the server, not about what it was sent."""
log = structlog.get_logger()


class Lane:
    """Reads ``queues`` of one partition for ``consumer``, within ``slots`` shared with other lanes.

    ``caller`` and ``listener`` have one connection each that nobody else uses. ``is_open``: whether the partition was,
    when it was asked last. ``on_taken``: told of tokens that are delivered, and of the server's clock, in ms.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        caller: Redis,
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
        self._caller = caller
        self.keys = keys
        self.consumer = consumer
        names = [f"{queue}:{priority}" for priority in STREAM_NAMES for queue in ("system", *queues)]
        self.names = names
        self._paused_queues: frozenset[str] = frozenset()
        self.streams = [keys.queue(name) for name in names]
        self._listener = Listener(listener, consumer, self.streams)
        self._executor = executor
        self._slots = slots
        self.limits = (str(outbox_soft_max), str(outbox_hard_max))
        self._finished: deque[Transition] = deque()
        self._opened: list[tuple[int, str]] = []
        self._tokens: dict[tuple[int, str], list[bytes]] = {}
        self._wake = anyio.Event()
        self._rest = anyio.Event()
        self.calls = 0
        self._held = 0
        self._stopping = anyio.Event()
        self._is_listening = True
        self._is_held_back = False
        self._broken: anyio.Event | None = None
        self.applied = 0
        self.refused = 0
        self.is_open = False
        self.on_taken: Callable[[list[list[bytes]], int], None] | None = None

    @property
    def attempts(self) -> Attempts:
        return self._executor.attempts

    @property
    def held(self) -> int:
        """Tokens in hand."""
        return self._held

    async def run(self) -> None:
        """Work until ``stop`` was called and everything held is finished."""
        await self._open()
        async with anyio.create_task_group() as group:
            await group.start(self._executor.run, self._finish, self._note, self._drop)
            group.start_soon(self._listen)
            group.start_soon(self._unblock_when_stopped)
            await self._pump()
            self._executor.stop()

    def stop(self) -> None:
        """Take no more. What is held goes on."""
        self._stopping.set()
        self._rouse()

    def tell_stopping(self) -> None:
        """Say to handlers that this worker stops."""
        self._executor.attempts.tell_stopping()

    def give_back(self) -> None:
        """Give back what is not finished: others take it at once."""
        self._executor.attempts.give_back()

    def _finish(self, transition: Transition) -> None:
        """A token is settled: its slot is free, its transition goes with the next call."""
        self._finished.append(transition)
        self._held -= 1
        self._slots.give()
        self._rouse()

    def _rouse(self) -> None:
        """The pump has something to do; from now on, not only when it gets to it, the listener leaves slots to it."""
        self._wake.set()
        if self._rest.is_set():
            self._rest = anyio.Event()

    def _drop(self, number: int, entry: str) -> None:
        """A token is another's by now: its slot is free, and nothing is handed in."""
        self._tokens.pop((number, entry), None)
        self._held -= 1
        self._slots.give()
        self._wake.set()

    def hear_paused(self, queues: frozenset[str]) -> None:
        """Read these queues no more, and all others. What a blocking read of before brings is still taken."""
        if queues != self._paused_queues:
            log.info("paused_queues_heard", queues=sorted(queues), consumer=self.consumer)
            self._paused_queues = queues
            self._listener.paused = frozenset(
                number for number, name in enumerate(self.names, start=1) if name.rpartition(":")[0] in queues
            )

    def leases(self) -> list[Lease]:
        """Return what is held, from its delivery until its transition is applied. From any thread."""
        return [self._executor.attempts.lease_of(token) for token in self._tokens.copy().values()]

    def _note(self, transition: Transition) -> None:
        self._finished.append(transition)
        self._rouse()

    async def _open(self) -> None:
        """Make the groups of the streams; wait while the partition is closed, unless told to stop."""
        self.is_open = False
        began = time.monotonic()
        while not self._stopping.is_set():
            try:
                await open_partition(
                    self._redis, self.keys, [(stream, QUEUE_GROUP) for stream in self.streams], epoch=None
                )
                self.is_open = True
                return
            except Closed:
                tell = log.info if time.monotonic() - began < OPENING_S else log.warning
                tell("partition_closed", partition=self.keys.base)
            except (RedisError, OSError) as error:
                log.warning("redis_unreachable", error=str(error))
            with anyio.move_on_after(0.5):
                await self._stopping.wait()

    async def _pump(self) -> None:
        is_first = True
        while True:
            if self._broken is not None:
                await self._find_given()
            if not (self._finished or self._opened or is_first):
                if not self._is_listening and self._held == 0:
                    return
                self._wake = anyio.Event()
                if not self._is_held_back:
                    self._rest.set()
                    await self._wake.wait()
                    continue
                with anyio.move_on_after(HELD_BACK_S):
                    await self._wake.wait()
            is_first = False
            batch = next_batch(self._finished)
            opened, self._opened = self._opened, []
            want = 0 if self._stopping.is_set() else min(WANT_MAX, max(0, self._slots.free))
            self._slots.take(want)
            answer = await self._advance(batch, opened, want)
            for transition in batch:
                self._tokens.pop(_entry_of(transition.words[3], transition.words[4]), None)
            if answer.is_over and not self._is_held_back:
                log.warning("outbox_over_limit", partition=self.keys.base, hint="no step is taken before it is shorter")
            self._is_held_back = answer.is_over and not self._stopping.is_set()
            tokens = answer.tokens
            self._slots.give(want + len(opened) - len(tokens))
            self._held += len(tokens)
            if self.on_taken is not None:
                self.on_taken(tokens, answer.now_ms)
            for token in tokens:
                self._tokens[_entry_of(token[0], token[1])] = token
                self._executor.receive(token, answer.now_ms)

    async def _find_given(self) -> None:
        """Open the entries that a broken read was given: pending for this worker, and not in its hands.

        Nothing else is under way here: the listener waits for this, and the pump is this.
        """
        assert self._broken is not None
        delay = 0.05
        while True:
            try:
                if self._listener.is_group_missing:
                    await self._open()
                given = await self._listener.read_given(self._redis)
                found = sorted(set(given) - self._tokens.keys() - set(self._opened))
                self._slots.take(len(found))
                self._opened += found
                break
            except (RedisError, OSError) as error:
                self._listener.is_group_missing = "NOGROUP" in str(error)
                log.warning("redis_unreachable", error=str(error))
            if self._stopping.is_set():
                break
            await anyio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            delay = min(BACKOFF_S_MAX, delay * 2)
        self._broken.set()
        self._broken = None

    async def _advance(self, batch: list[Transition], opened: list[tuple[int, str]], want: int) -> Advanced:
        """Send a batch, if need be one by one."""
        try:
            return await self._send(batch, opened, want)
        except ResponseError as error:
            log.error("advance_refused", error=str(error), transitions=len(batch), opened=len(opened))
        parts: list[tuple[list[Transition], list[tuple[int, str]], int]] = [([one], [], 0) for one in batch]
        parts += [([], [one], 0) for one in opened]
        parts.append(([], [], want))
        now_ms = 0
        tokens: list[list[bytes]] = []
        for some, one, count in parts:
            try:
                answer = await self._send(some, one, count)
            except ResponseError as error:
                self.refused += len(some)
                words = some[0].words if some else ["", ""]
                if some and some[0].flight is not None:
                    some[0].flight.end(is_applied=False)
                log.error("transition_dropped", run_id=words[0], token=words[1], opened=one, error=str(error))
                continue
            now_ms = answer.now_ms
            tokens += answer.tokens
        return Advanced("", now_ms, tokens)

    async def _send(self, batch: list[Transition], opened: list[tuple[int, str]], want: int) -> Advanced:
        """One call, repeated under the same number until it is answered. Raises ResponseError for a refusal."""
        self.calls += 1
        paused = self._listener.paused
        wanted: Word = f"{want}:{','.join(map(str, sorted(paused)))}" if paused else want
        words: list[Word] = [self.consumer, self.calls, wanted, *self.limits, len(opened)]
        for number, entry in opened:
            words += (number, entry)
        for transition in batch:
            words += transition.words
        delay = 0.05
        while True:
            try:
                reach("before_advance")
                answer = await advance(self._caller, self.keys, self.consumer, self.streams, words)
                reach("after_advance")
                break
            except BackPressure:
                log.warning("outbox_full", partition=self.keys.base)
            except Closed:
                await self._open()  # a recovery goes on; it leaves no group behind
            except ResponseError as error:
                if not is_passing(error):
                    raise
                log.warning("redis_refuses", error=str(error))
                if "NOGROUP" in str(error):
                    await self._open()
            except (RedisError, OSError) as error:
                log.warning("redis_unreachable", error=str(error))
            if self._stopping.is_set() and not batch and not opened:
                return Advanced("", 0, [])
            await anyio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            delay = min(BACKOFF_S_MAX, delay * 2)
        self.applied += answer.verdicts.count("A")
        for transition, verdict in zip(batch, answer.verdicts, strict=False):
            if transition.flight is not None:
                transition.flight.end(is_applied=verdict == "A")
        if len(batch) != answer.verdicts.count("A"):
            self._note_refused(batch, answer.verdicts)
        return answer

    def _note_refused(self, batch: list[Transition], verdicts: str) -> None:
        for transition, verdict in zip(batch, verdicts, strict=True):
            if verdict == "B" and transition.otherwise is not None:
                self._note(transition.otherwise)
            elif verdict != "A":
                self.refused += 1
                log.warning(
                    "transition_refused", verdict=verdict, run_id=transition.words[0], token=transition.words[1]
                )

    async def _listen(self) -> None:
        """Wait in a blocking read whenever slots are free and there is nothing to send.

        While there is, the next call brings what the slots can take; a read beside it would need a call of its own.
        """
        while not self._stopping.is_set():
            await self._rest.wait()
            await self._slots.wait()
            if not self._rest.is_set():
                continue
            reserved = min(RESERVED_MAX, self._slots.share, max(0, self._slots.free))
            if not reserved or self._stopping.is_set():
                continue
            self._slots.take(reserved)
            found = await self._listener.read(reserved)
            self._slots.give(reserved - len(found or []))
            if found:
                self._opened += found
                self._rouse()
            elif found is None:
                broken = self._broken = anyio.Event()
                self._rouse()
                await broken.wait()
        self._is_listening = False
        self._rouse()

    async def _unblock_when_stopped(self) -> None:
        """End the blocking read at once, without losing what it may have been given."""
        await self._stopping.wait()
        while self._is_listening:
            await self._listener.unblock(self._redis)
            await anyio.sleep(0.02)


def next_batch(finished: deque[Transition]) -> list[Transition]:
    """Take out what has finished, in its order, as far as one call may write it; at least one, where there is any."""
    batch: list[Transition] = []
    writes = 0
    while finished and (not batch or writes + finished[0].writes <= WRITES_MAX):
        transition = finished.popleft()
        writes += transition.writes
        batch.append(transition)
    return batch


def is_passing(error: ResponseError) -> bool:
    """Whether the same call may be answered later."""
    return isinstance(error, OutOfMemoryError | ReadOnlyError) or str(error).startswith(PASSING)


def _entry_of(number: Word, entry: Word) -> tuple[int, str]:
    return int(number), entry.decode() if isinstance(entry, bytes) else str(entry)
