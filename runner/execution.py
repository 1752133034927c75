"""Execution: what a worker does with one token, from its delivery to its transition.

Nodes that return at once run inline; the others in a task each. Whatever user code does, the worker lives on.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus
from redis.asyncio import Redis

from ..sdk.authoring.cancellation import CancelReason
from ..sdk.errors import PayloadUnreadable
from ..sdk.fault_points import reach
from ..sdk.floor.calling import Word
from ..sdk.floor.payloads import PayloadMissing, is_reference, store_payload
from ..sdk.floor.repairs import halt_runs
from ..sdk.keys import Keys, PartitionKeys
from ..sdk.marking.marking import RunPhase, TokenKind
from ..sdk.outcomes.gates import before_node
from ..sdk.outcomes.gathering import ResultsMissing
from ..sdk.outcomes.map_openings import forced_items
from ..sdk.outcomes.outcomes import Failed, GivenBack, Opened, Outcome, Succeeded, Waits, failed
from ..sdk.outcomes.step_context import StepError
from ..sdk.retry_after import RETRY_AFTER_MS_MAX
from ..sdk.sealing.payload_terms import PAYLOAD_TERMS, PayloadTooLarge
from .attempt_tasks import AttemptTasks
from .attempts import STARTED_AFTER_S, Attempts
from .bringing import Bringer
from .held_attempts import Ending, HeldAttempt, too_long
from .item_lists import ITEMS_INLINE_BYTES_MAX
from .lookups import Lookups
from .nodes import AWAITED, INLINE
from .plans import Plans
from .poison import poison
from .retrying import retry
from .settling import Settler
from .step_cache import StepCache
from .terms import Terms
from .toolbox import Toolbox
from .transition import Transition
from .work import Work, deliveries_of, read_roughly, read_token

MISSING_DELAY_MS = 2_000
"""An IR or node type that this worker does not have: another may."""
Finish = Callable[[Transition], None]
Drop = Callable[[int, str], None]
log = structlog.get_logger()


class Executor:
    """Runs the tokens of one lane. ``receive`` never blocks and never raises."""

    def __init__(
        self,
        *,
        redis: Redis,
        keys: Keys,
        partition: PartitionKeys,
        consumer: str,
        plans: Plans,
        tools: Toolbox,
        retry_after_ms_max: int = RETRY_AFTER_MS_MAX,
        terms: Terms | None = None,
        send_reports: Callable[[], None] = lambda: None,
        cache: StepCache | None = None,
        make_settler: Callable[[str], Settler] = Settler,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._partition = partition
        self._consumer = consumer
        self._plans = plans
        self._tools = tools
        self._retry_after_ms_max = retry_after_ms_max
        self._settler = make_settler(consumer)
        self._terms = terms or Terms()
        self.attempts = Attempts(partition, cancel_grace_s=self._terms.cancel_grace_ms / 1000, send=send_reports)
        self._bringer = Bringer(redis, keys, partition, tools.cold, tools.elsewhere)
        self._lookups = (
            Lookups(cache, tools, self._go_on, lambda one: self._spawn(lambda: one)) if cache is not None else None
        )
        self._awaiting: dict[str, list[tuple[list[bytes], int]]] = {}
        self._stopped = anyio.Event()
        self._tasks = AttemptTasks(self.stop)
        self._group: TaskGroup | None = None
        self._finish: Finish = _no_lane
        self._note: Finish = _no_lane
        self._drop: Drop = _no_lane

    async def run(
        self, finish: Finish, note: Finish, drop: Drop, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Hold the tasks of tokens until ``stop``.

        ``finish`` takes each token's transition, ``note`` others, ``drop`` the entries of tokens that were lost.
        """
        self._finish, self._note, self._drop = finish, note, drop
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                group.start_soon(self._tend)
                task_status.started()
                await self._stopped.wait()
                group.cancel_scope.cancel()
        finally:
            await self._tasks.end()

    def stop(self) -> None:
        self._stopped.set()

    def receive(self, token: list[bytes], now_ms: int) -> None:
        """Run an inline token now; start a task for any other.

        One that cannot be read is dropped and not renewed: after the lease another worker, or another build, tries it.
        """
        try:
            self._receive(token, now_ms)
        except Exception as error:
            log.exception("token_unreadable", run_id=token[2], token=token[3], error=str(error))
            if not self._give_up(token, now_ms):
                self._drop(int(token[0]), token[1].decode())

    def _receive(self, token: list[bytes], now_ms: int) -> None:
        plan = self._plans.known(token[5].decode())
        if plan is None:
            self._await_plan(token, now_ms)
            return
        work = read_token(token, plan)
        work.now_ms = now_ms
        transition = self._settler.settle_engine_token(work)
        if transition is not None:
            self._finish(transition)
            return
        node = work.node
        if work.is_below_closed_map:
            self._finish(self._settler.drop(work))
            return
        if work.kind is TokenKind.COLLECT:
            if work.deliveries < self._terms.deliveries_max:
                self._spawn(self._collect, work)
            else:
                self._spawn(self._halt, work.run_id)
                self._drop(work.stream, work.entry)
            return
        if work.deliveries >= self._terms.deliveries_max:
            self._finish(self._settler.settle(work, self._failure(work, poison(work))))
            return
        if node.timeout_ms is not None:
            work.received_at = time.monotonic()
        wide = len(work.values) < len(node.reads)
        is_again = (work.deliveries or work.attempt > 1) and node.type in AWAITED
        is_cut = not wide and self._bringer.cut(work)
        if wide or is_again or not is_cut or any(value is not None and is_reference(value) for value in work.values):
            self._spawn(self._fetch_then_start, work, wide)
        else:
            self._start(work)

    def _give_up(self, token: list[bytes], now_ms: int) -> bool:
        """Return whether a token that nobody could read, as often as it may be tried, ends here.

        Its node fails, where run and node can be told; else the run is halted, and the token stays where it is.
        """
        if deliveries_of(token) < self._terms.deliveries_max:
            return False
        try:
            work = read_roughly(token, self._plans.known(token[5].decode()))
            work.now_ms = now_ms
            self._finish(self._settler.settle(work, self._failure(work, poison(work))))
        except Exception as error:
            log.exception("run_to_be_halted", run_id=token[2], token=token[3], error=str(error))
            self._spawn(self._halt, token[2].decode())
            return False
        return True

    async def _halt(self, run_id: str) -> None:
        verdict = await retry(lambda: halt_runs(self._redis, self._partition, [run_id], why="unreadable"))
        log.error("run_halted", run_id=run_id, verdict=verdict)

    def _await_plan(self, token: list[bytes], now_ms: int) -> None:
        """Load an IR once for all tokens that wait for it."""
        ir_hash = token[5].decode()
        waiting = self._awaiting.setdefault(ir_hash, [])
        waiting.append((token, now_ms))
        if len(waiting) == 1:
            self._spawn(self._load_plan, ir_hash)

    async def _load_plan(self, ir_hash: str) -> None:
        plan = await retry(lambda: self._plans.load(ir_hash))
        for token, now_ms in self._awaiting.pop(ir_hash):
            if plan is not None:
                self.receive(token, now_ms)
                continue
            fence = token[6].split(b"|", 1)[0].decode()
            words: list[Word] = [token[2], token[3], fence, int(token[0]), token[1], 0, b"", 2, "r", MISSING_DELAY_MS]
            self._finish(Transition(words, 4))

    def _start(self, work: Work) -> None:
        """Pass the gates, then run the node."""
        work.code = self._plans.code(work.plan, work.number)
        try:
            before = before_node(work)
            if before is not None:
                self._finish_or_store(work, before)
                return
            if work.plan.caches and work.number in work.plan.caches and self._lookups is not None:
                self._lookups.start(work)
                return
            outcome = self._run(work)
        except Exception as error:  # noqa: BLE001 - whatever a node does, its worker lives on
            outcome = self._failure(work, error)
        if outcome is not None:
            self._finish_or_store(work, outcome)

    def _run(self, work: Work) -> Outcome | None:
        """Run the node; None where that goes on in a task of its own."""
        run = INLINE.get(work.node.type)
        if run is not None:
            return run(work)
        held = self.attempts.begin(work)
        held.task = self._tasks.start(self._run_awaited(work, held))
        return None

    def _go_on(self, work: Work, found: Outcome | None) -> None:
        """Take what was looked up, or run the node."""
        try:
            outcome = found if found is not None else self._run(work)
        except Exception as error:  # noqa: BLE001 - whatever a node does, its worker lives on
            outcome = self._failure(work, error)
        if outcome is not None:
            self._finish_or_store(work, outcome)

    def _finish_or_store(self, work: Work, outcome: Outcome) -> None:
        if work.node.is_map and isinstance(outcome, Succeeded):
            outcome = forced_items(work, outcome.output)
        if work.must_keep_input:
            self._spawn(self._keep_input_then_finish, work, outcome)
            return
        most = PAYLOAD_TERMS.inline_most
        if isinstance(outcome, Opened):
            most = min(most, ITEMS_INLINE_BYTES_MAX)
        if isinstance(outcome, Succeeded | Opened) and len(outcome.output) > most:
            self._spawn(self._store_then_finish, work, outcome, 0)
        elif isinstance(outcome, Waits) and outcome.payload is not None and len(outcome.payload) > most:
            self._spawn(self._store_then_wait, work, outcome, outcome.payload)
        else:
            self._finish(self._settler.settle(work, outcome))

    async def _run_awaited(self, work: Work, held: HeldAttempt) -> None:
        """Run one attempt to its end, by itself or by what ends it, unless it has been left behind."""
        outcome = await held.run(partial(self._call, work), self._tasks.is_over)
        if not held.is_left:
            await self._end_attempt(work, held, outcome)

    async def _end_attempt(self, work: Work, held: HeldAttempt, outcome: Outcome | BaseException | None) -> None:
        """outcome: what it came to, None where it was ended."""
        if isinstance(outcome, BaseException):
            outcome = self._failure(work, outcome)
        self.attempts.finish(work)
        now = time.monotonic()
        ms = int((now - held.started_at) * 1000)
        if now > held.ends_at:
            held.end(Ending.OVERDUE)
        if held.ending is not None or held.cancellation.is_heard:
            outcome = self._ended(work, held, outcome)
        if work.step_log is not None:
            await self._tools.end_log(work.step_log)
        if outcome is None:
            return
        if work.must_keep_input:
            outcome = await self._keep_input(work, outcome)
        if isinstance(outcome, Succeeded) and len(outcome.output) > PAYLOAD_TERMS.inline_most:
            await self._store_then_finish(work, outcome, ms)
        else:
            self._finish(self._settler.settle(work, outcome, ms))

    async def _call(self, work: Work) -> Outcome:
        run = AWAITED.get(work.node.type)
        if run is None:
            log.warning("node_type_unknown", type=work.node.type, run_id=work.run_id)
            return GivenBack(MISSING_DELAY_MS)
        reach("before_handler")
        outcome = await run(work, self._tools)
        reach("after_handler")
        return outcome

    def _ended(self, work: Work, held: HeldAttempt, outcome: Outcome | None) -> Outcome | None:
        """Return what becomes of an attempt that was ended from outside or told to end, None where all is done.

        outcome: what it came to all the same. After its time it is void. A handler that ends well while its worker
        stops or its run drains has ended well; one that fails then, and has heard of it, has done as it was told.
        """
        if held.ending is Ending.LOST:
            if work.flight is not None:
                work.flight.end(is_applied=False)
            self._drop(work.stream, work.entry)
            return None
        overrun = None if held.ending is None else too_long(held.ending, work.node)
        if overrun is not None:
            return self._failure(work, overrun)
        if outcome is not None and not isinstance(outcome, Failed):
            return outcome
        if held.cancellation.told is CancelReason.STOPPING:
            return GivenBack(0)
        work.phase = RunPhase.DRAINING
        transition = self._settler.settle_engine_token(work)
        assert transition is not None
        self._finish(transition)
        return None

    async def _keep_input_then_finish(self, work: Work, outcome: Outcome) -> None:
        self._finish_or_store(work, await self._keep_input(work, outcome))

    async def _keep_input(self, work: Work, outcome: Outcome) -> Outcome:
        """Put a reference in the place of the input, which nobody here needs any more."""
        stored = await self._stored(work, work.input_json or b"")
        work.input_json = None if isinstance(stored, Failed) else stored
        return stored if isinstance(stored, Failed) else outcome

    async def _store_then_finish(self, work: Work, outcome: Succeeded | Opened, ms: int) -> None:
        """A payload is stored before the script that refers to it."""
        stored = await self._stored(work, outcome.output)
        final = stored if isinstance(stored, Failed) else dataclasses.replace(outcome, output=stored)
        self._finish(self._settler.settle_stored(work, final, outcome.output, ms))

    async def _store_then_wait(self, work: Work, outcome: Waits, payload: bytes) -> None:
        """The same, for what the log is to say of a wait."""
        stored = await self._stored(work, payload)
        final = stored if isinstance(stored, Failed) else dataclasses.replace(outcome, payload=stored)
        self._finish(self._settler.settle(work, final))

    async def _stored(self, work: Work, content: bytes) -> bytes | Failed:
        try:
            return await retry(lambda: store_payload(self._redis, self._keys, content))
        except PayloadTooLarge as error:
            return self._failure(work, StepError("PAYLOAD_TOO_LARGE", str(error)))

    async def _fetch_then_start(self, work: Work, wide: bool) -> None:
        """Bring what did not travel with the token: wide reads, items, results, and payloads behind references."""
        try:
            await self._bringer.fetch(work, wide=wide)
        except (PayloadMissing, PayloadUnreadable, PayloadTooLarge) as error:
            if isinstance(error, ResultsMissing) and self._tools.cold is not None:
                self._leave(work, error)
                return
            told = self._bringer.unread(work, error)
            outcome = self._failure(work, told) if isinstance(told, StepError) else told
            self._finish(self._settler.settle(work, outcome))
            return
        if work.is_below_closed_map:
            self._finish(self._settler.drop(work))
            return
        self._start(work)

    async def _collect(self, work: Work) -> None:
        """Make values of the results of the chunks whose turn it is. Where they are gone, another worker tries."""
        try:
            collections = await self._bringer.collect(work)
        except PayloadMissing as error:
            self._leave(work, error)
            return
        self._finish(self._settler.collect(work, collections))

    def _leave(self, work: Work, error: PayloadMissing) -> None:
        """Another worker tries, after the lease."""
        log.error("results_missing", run_id=work.run_id, token=work.key, error=str(error))
        self._drop(work.stream, work.entry)

    def _failure(self, work: Work, error: BaseException) -> Failed:
        return failed(error, work.node.id, work.attempt, self._consumer, retry_after_ms_max=self._retry_after_ms_max)

    async def _tend(self) -> None:
        """Look after what runs for long."""
        while True:
            await anyio.sleep(STARTED_AFTER_S / 2)
            for work in self.attempts.tend():
                self._note(self._settler.announce(work))
            for work, held in self.attempts.left_behind():
                log.warning("handler_left_behind", run_id=work.run_id, node=work.node.id, attempt=work.attempt)
                if held.task is not None:
                    self._tasks.leave(held.task)
                self._spawn(self._end_attempt, work, held, None)

    def _spawn(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        assert self._group is not None
        self._group.start_soon(function, *arguments)


def _no_lane(*_what: object) -> None:
    raise AssertionError("the executor does not run")
