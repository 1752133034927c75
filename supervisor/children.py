"""Child runs: what a step asks for is started, its end is told to the step, and a step that is gone ends its child.

The link between the two is a row that the recorder makes of the parent's log; every pass looks at both ends of all
links that are open, so that it does not matter where somebody died, or how many supervisors look.

wanted    its step waits no more: dropped, never to be started. Else it is taken up: ``starting``.
starting  submitted, with an id made of the step: the same run however often. Refused: the step is told.
started   it has ended, and was started again before its step was told: that run stands for the step from now on.
          It has ended: the step is told, once (the command decides the attempt). Its step waits no more: it is
          cancelled. Then it is settled. One that is detached is settled as soon as it is accepted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio
import msgspec
import structlog

from ..sdk.client.client import Client
from ..sdk.client.control import Control, Said
from ..sdk.errors import (
    CouranteError,
    IdempotencyConflict,
    InputInvalid,
    PayloadUnreadable,
    RunNotFound,
    WorkflowNotFound,
)
from ..sdk.fault_points import reach
from ..sdk.outcomes.subflows import CHILD, ERROR_CHARS_MAX, ChildEnd, ChildStatus, told_of, too_deep
from ..sdk.sealing.payload_terms import PAYLOAD_BYTES_MAX
from ..sdk.server_errors import SERVER_ERRORS
from ..sdk.settings import SUBFLOW_DEPTH_MAX
from ..sdk.stores.children import (
    FIRST,
    ChildState,
    OpenChild,
    child_key,
    follow_child,
    has_open_children,
    move_children,
    open_children,
    take_up_child,
)
from ..sdk.stores.command_bodies import Body, encode_body
from ..sdk.stores.payloads import event_payload
from ..sdk.submissions.submissions import Submission
from .recording.projections import Projection

LOOK_S = 1.0
"""A look without news: another supervisor may have recorded some."""
FAULT_S = 0.5
REST_S_MAX = 0.25
BATCH = 200
AT_ONCE = 100
"""Starts that are made together share a commit."""
ROOM_BYTES = 1_024
"""What is told around the output of a child run."""
TOLD_BYTES_MAX = 4_000_000
"""Of what is told in one transaction."""
REFUSALS = (WorkflowNotFound, InputInvalid, IdempotencyConflict)
log = structlog.get_logger()


class Children:
    """Looks after the child runs of one partition."""

    def __init__(self, client: Client, control: Control, partition: int, *, depth_max: int = SUBFLOW_DEPTH_MAX) -> None:
        self._client = client
        self._control = control
        self._partition = partition
        self._depth_max = depth_max
        self._news = anyio.Event()
        self._has_open = True
        self._walked = FIRST  # what nothing can be done about now keeps no other waiting
        self._moves: list[tuple[str, ChildState, ChildState]] = []

    def hear(self, projection: Projection) -> None:
        """Follow a batch that was recorded in this process: there may be something to do."""
        if projection.wants_children or (self._has_open and projection.has_moved):
            self._news.set()

    async def run(self) -> None:
        """Look whenever there are news, and now and then, until cancelled."""
        while True:
            self._news = anyio.Event()
            began = anyio.current_time()
            try:
                is_more = await self.look() >= BATCH
                rest_s = min(anyio.current_time() - began, REST_S_MAX)
            except (*SERVER_ERRORS, CouranteError) as error:
                log.warning("children_failed", error=str(error) or repr(error), partition=self._partition)
                is_more, rest_s = False, FAULT_S
            if not is_more:
                with anyio.move_on_after(LOOK_S):
                    await self._news.wait()
            # A look costs as much as there are child runs under way, and each batch of events may bring news.
            await anyio.sleep(rest_s)

    async def look(self) -> int:
        """Do what is to be done now; return about how many child runs. Idempotent."""
        env = self._client.keys.env
        async with self._client.pool.acquire() as conn:
            self._has_open = await has_open_children(conn, env, self._partition)
            looked = await open_children(conn, env, self._partition, BATCH, self._walked) if self._has_open else []
            self._walked = looked[-1].place if len(looked) == BATCH else FIRST
        ready = await self._take_up(looked)
        ended: defaultdict[str, list[OpenChild]] = defaultdict(list)
        limiter = anyio.CapacityLimiter(AT_ONCE)

        async def settle(settling: Callable[[], Awaitable[None]]) -> None:
            async with limiter:
                try:
                    await settling()
                except (*SERVER_ERRORS, CouranteError) as error:
                    log.warning("child_postponed", error=str(error) or repr(error), partition=self._partition)

        try:
            async with anyio.create_task_group() as group:
                for child in ready:
                    if child.state is ChildState.STARTING:
                        group.start_soon(settle, partial(self._start, child))
                    elif child.going_on is not None and child.is_awaited:
                        group.start_soon(settle, partial(self._follow, child, child.going_on))
                    elif child.status is not None:
                        ended[child.parent_run_id].append(child)
                    elif not child.is_awaited:
                        group.start_soon(settle, partial(self._cancel, child))
                for some in ended.values():
                    group.start_soon(settle, partial(self._tell_ends, some))
        finally:
            await self._write_moves()
        return len(looked)

    async def _take_up(self, found: Sequence[OpenChild]) -> list[OpenChild]:
        """Take up those that are wanted, in the order in which they were; return what is to be gone on with."""
        ready = [child for child in found if child.state is not ChildState.WANTED]
        wanted = [child for child in found if child.state is ChildState.WANTED]
        deep: list[tuple[OpenChild, str]] = []
        async with self._client.pool.acquire() as conn, conn.transaction():
            for child in wanted:
                state = _taken_up(child)
                depth = await take_up_child(conn, child.run_id, state)
                if depth is None or state in (ChildState.DROPPED, ChildState.SETTLED):
                    continue
                taken = msgspec.structs.replace(child, state=state)
                told = too_deep(depth, self._depth_max) if state is ChildState.STARTING else ""
                if told:
                    deep.append((taken, told))
                else:
                    ready.append(taken)
        for child, told in deep:
            await self._refuse(child, told)
        return ready

    async def _start(self, child: OpenChild) -> None:
        reach("before_child")
        try:
            given = await self._payload(child.parent_run_id, child.seq)
            await self._client.start(
                Submission(
                    workflow=child.workflow,
                    version=child.version,
                    input=given,
                    key=child_key(child.parent_run_id, child.node, child.scope, child.attempt),
                    by=child.by,
                    tags=child.tags,
                    trigger=CHILD,
                    partition=child.partition,
                )
            )
        except REFUSALS as error:
            await self._refuse(child, error.message)
            return
        reach("after_child")
        if not child.is_detached:
            self._move(child, ChildState.STARTED)
            return
        await self._tell([(child, ChildEnd(run_id=child.run_id, status=ChildStatus.STARTED))])

    async def _refuse(self, child: OpenChild, told: str) -> None:
        """The step fails; one that is gone meanwhile is not told."""
        log.warning("child_refused", run_id=child.run_id, parent_run_id=child.parent_run_id, error=told)
        end = ChildEnd(run_id=child.run_id, status=ChildStatus.REFUSED, error=told[:ERROR_CHARS_MAX])
        await self._tell([(child, end)], ChildState.REFUSED)

    async def _tell_ends(self, children: Sequence[OpenChild]) -> None:
        """Tell the steps of one run together: its commands are numbered one after the other."""
        told: list[tuple[OpenChild, ChildEnd]] = []
        size = 0
        for child in children:
            if not child.is_awaited:
                self._move(child, ChildState.SETTLED)
                continue
            end, bytes_ = await self._end_of(child)
            told.append((child, end))
            size += bytes_
            if size > TOLD_BYTES_MAX:
                await self._tell(told)
                told, size = [], 0
        await self._tell(told)

    async def _end_of(self, child: OpenChild) -> tuple[ChildEnd, int]:
        """Return what a step is told, and about how many bytes that is."""
        status = ChildStatus(child.status or "")
        end, size = ChildEnd(run_id=child.run_id, status=status, error=told_of(child.error, status)), ROOM_BYTES
        if status is not ChildStatus.COMPLETED:
            return end, size
        try:
            output = None if child.output_seq is None else await self._payload(child.run_id, child.output_seq)
            whole = ChildEnd(run_id=child.run_id, status=status, output=output)
            size = len(encode_body(Body(data=msgspec.to_builtins(whole))))
        except InputInvalid as error:
            return msgspec.structs.replace(end, status=ChildStatus.FAILED, error=error.message), size
        if size > PAYLOAD_BYTES_MAX - ROOM_BYTES:
            told = f"its output has {size:,} bytes; at most {PAYLOAD_BYTES_MAX - ROOM_BYTES:,} come back to a step"
            return msgspec.structs.replace(end, status=ChildStatus.FAILED, error=told), ROOM_BYTES
        return whole, size

    async def _payload(self, run_id: str, seq: int) -> object:
        """Return a value that the log has. Raises InputInvalid where it is not stored any more, or cannot be read."""
        async with self._client.pool.acquire() as conn:
            try:
                content = await event_payload(conn, self._client.keys.env, run_id, seq)
            except PayloadUnreadable as error:
                raise InputInvalid(f"the payload of event {run_id}:{seq} cannot be read: {error}") from error
        if content is None:
            raise InputInvalid(f"the payload of event {run_id}:{seq} is not stored any more")
        return msgspec.json.decode(content)

    async def _tell(self, ends: Sequence[tuple[OpenChild, ChildEnd]], state: ChildState = ChildState.SETTLED) -> None:
        """Tell steps of one run, each once: what was told before stands."""
        if not ends:
            return
        reach("before_child_told")
        async with self._client.pool.acquire() as conn:
            parent = await self._control.find(conn, ends[0][0].parent_run_id)
            await self._control.give_all(conn, parent, "child_ended", [_said(child, end) for child, end in ends])
        reach("after_child_told")
        for child, _ in ends:
            self._move(child, state)

    async def _follow(self, child: OpenChild, going_on: str) -> None:
        """Somebody was faster than the word of its end: what counts is how it goes on."""
        log.info("child_goes_on", run_id=going_on, base_run_id=child.run_id, parent_run_id=child.parent_run_id)
        async with self._client.pool.acquire() as conn:
            await follow_child(conn, child.run_id, going_on)

    async def _cancel(self, child: OpenChild) -> None:
        """Its step waits no more."""
        reason = f"step {child.node} of {child.parent_run_id} waits for it no more"
        try:
            await self._client.cancel(child.run_id, reason, by=f"run:{child.parent_run_id}")
        except RunNotFound:
            log.error("child_lost", run_id=child.run_id, parent_run_id=child.parent_run_id)
        self._move(child, ChildState.SETTLED)

    def _move(self, child: OpenChild, state: ChildState) -> None:
        self._moves.append((child.run_id, child.state, state))

    async def _write_moves(self) -> None:
        """Note what was done, at the end of a pass; what is not noted is done again, and changes nothing."""
        moves, self._moves = self._moves, []
        async with self._client.pool.acquire() as conn:
            await move_children(conn, moves)


def _said(child: OpenChild, end: ChildEnd) -> Said:
    body = Body(step=child.node, scope=child.scope, attempt=child.attempt, data=msgspec.to_builtins(end), is_asked=True)
    return Said(body, f"run:{child.run_id}", f"{CHILD}/{child.node}/{child.scope}/{child.attempt}")


def _taken_up(child: OpenChild) -> ChildState:
    """What becomes of one that is wanted. One that was accepted before has a row that was made again from the log."""
    if not child.is_accepted:
        return ChildState.STARTING if child.is_awaited else ChildState.DROPPED
    if child.status is not None and not child.is_awaited:
        return ChildState.SETTLED
    return ChildState.STARTING if child.is_detached else ChildState.STARTED
