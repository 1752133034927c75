"""Execution: what a worker does with one token, from its delivery to its transition.

Nodes that return at once run inline; the others in a task each. Whatever user code does, the worker lives on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..sdk.fault_points import reach
from ..sdk.keys import Keys, PartitionKeys
from ..sdk.marking import TokenKind
from ..sdk.payloads import INLINE_BYTES_MAX, PayloadMissing, PayloadTooLarge, is_reference, load_payload, store_payload
from ..sdk.plan import READS_MAX, Plan, value_field
from ..sdk.retry_after import RETRY_AFTER_MS_MAX
from ..sdk.scopes import parse_token_key
from ..sdk.scripts import Word, look_at_runs
from ..sdk.step_context import StepError
from ..sdk.steps import Steps
from .gates import before_node
from .nodes import AWAITED, INLINE
from .outcomes import Failed, GivenBack, Outcome, Succeeded, failed
from .plans import Plans
from .settling import STARTED_AFTER_S, Settler, Transition
from .work import Work

MISSING_DELAY_MS = 2_000
"""An IR or node type that this worker does not have: another may."""
BACKOFF_S_MAX = 5.0
T = TypeVar("T")
Finish = Callable[[Transition], None]
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
        steps: Steps,
        retry_after_ms_max: int = RETRY_AFTER_MS_MAX,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._partition = partition
        self._consumer = consumer
        self._plans = plans
        self._steps = steps
        self._retry_after_ms_max = retry_after_ms_max
        self._settler = Settler(consumer)
        self._running: dict[tuple[str, str], Work] = {}
        self._awaiting: dict[str, list[tuple[list[bytes], int]]] = {}
        self._stopped = anyio.Event()
        self._group: TaskGroup | None = None
        self._finish: Finish = _no_lane
        self._note: Finish = _no_lane

    async def run(
        self, finish: Finish, note: Finish, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Hold the tasks of awaited nodes until ``stop``. ``finish`` takes each token's transition, ``note`` others."""
        self._finish, self._note = finish, note
        async with anyio.create_task_group() as group:
            self._group = group
            group.start_soon(self._announce_long)
            task_status.started()
            await self._stopped.wait()
            group.cancel_scope.cancel()

    def stop(self) -> None:
        self._stopped.set()

    def receive(self, token: list[bytes], now_ms: int) -> None:
        """Run an inline token now; start a task for any other."""
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
        wide = len(node.reads) > READS_MAX
        if wide or any(value is not None and is_reference(value) for value in work.values):
            self._spawn(self._fetch_then_start, work, wide)
        else:
            self._start(work)

    def _await_plan(self, token: list[bytes], now_ms: int) -> None:
        """Load an IR once for all tokens that wait for it."""
        ir_hash = token[5].decode()
        waiting = self._awaiting.get(ir_hash)
        if waiting is not None:
            waiting.append((token, now_ms))
            return
        self._awaiting[ir_hash] = [(token, now_ms)]
        self._spawn(self._load_plan, ir_hash)

    async def _load_plan(self, ir_hash: str) -> None:
        plan = await self._retry(lambda: self._plans.load(ir_hash))
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
            run = INLINE.get(work.node.type)
            if run is None:
                work.started_at = time.monotonic()
                self._running[work.run_id, work.key] = work
                self._spawn(self._run_awaited, work)
                return
            outcome = run(work)
        except StepError as error:
            outcome = self._failure(work, error)
        except Exception as error:  # noqa: BLE001 - whatever a node does, its worker lives on
            outcome = self._failure(work, error)
        self._finish_or_store(work, outcome)

    def _finish_or_store(self, work: Work, outcome: Outcome) -> None:
        if isinstance(outcome, Succeeded) and len(outcome.output) > INLINE_BYTES_MAX:
            self._spawn(self._store_then_finish, work, outcome, 0)
        else:
            self._finish(self._settler.settle(work, outcome))

    async def _run_awaited(self, work: Work) -> None:
        outcome: Outcome
        try:
            reach("before_handler")
            run = AWAITED.get(work.node.type)
            if run is None:
                outcome = GivenBack(MISSING_DELAY_MS)
                log.warning("node_type_unknown", type=work.node.type, run_id=work.run_id)
            else:
                outcome = await run(work, self._steps, self._consumer)
                reach("after_handler")
                if isinstance(outcome, GivenBack):
                    log.warning("handler_unknown", handler=work.node.config.get("handler"), run_id=work.run_id)
        except anyio.get_cancelled_exc_class() as error:
            if anyio.current_effective_deadline() == -math.inf:
                raise
            outcome = self._failure(work, error)  # the step's own doing: it awaited something that was cancelled
        except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 - user code raises anything, also sys.exit()
            outcome = self._failure(work, error)
        self._running.pop((work.run_id, work.key), None)
        ms = int((time.monotonic() - work.started_at) * 1000)
        if isinstance(outcome, Succeeded) and len(outcome.output) > INLINE_BYTES_MAX:
            await self._store_then_finish(work, outcome, ms)
        else:
            self._finish(self._settler.settle(work, outcome, ms))

    async def _store_then_finish(self, work: Work, outcome: Succeeded, ms: int) -> None:
        """A payload is stored before the script that refers to it."""
        final: Outcome
        try:
            final = Succeeded(await self._retry(lambda: store_payload(self._redis, self._keys, outcome.output)))
        except PayloadTooLarge as error:
            too_large = StepError("PAYLOAD_TOO_LARGE", str(error))
            final = self._failure(work, too_large)
        self._finish(self._settler.settle_stored(work, final, outcome.output, ms))

    async def _fetch_then_start(self, work: Work, wide: bool) -> None:
        """Bring what did not travel with the token: wide reads, and payloads behind references."""
        try:
            if wide:
                fields = work.plan.reads(work.number, work.scope, work.live)
                if work.has_value:
                    fields.append(value_field(work.number, work.scope))
                work.values = await self._retry(lambda: self._read_fields(work.run_id, fields))
            work.values = [await self._resolve(value) for value in work.values]
        except PayloadMissing as error:
            missing = StepError("PAYLOAD_MISSING", str(error))
            self._finish(self._settler.settle(work, self._failure(work, missing)))
            return
        self._start(work)

    def _failure(self, work: Work, error: BaseException) -> Failed:
        most_ms = self._retry_after_ms_max
        return failed(error, work.node.id, work.attempt, self._consumer, retry_after_ms_max=most_ms)

    async def _read_fields(self, run_id: str, fields: list[str]) -> list[bytes | None]:
        """Fetch a wide node's context values."""
        answer = await look_at_runs(self._redis, self._partition, [(run_id, " ".join(fields))])
        return answer[0].values

    async def _resolve(self, value: bytes | None) -> bytes | None:
        if value is None or not is_reference(value):
            return value
        return await self._retry(lambda: load_payload(self._redis, self._keys, value))

    async def _retry(self, call: Callable[[], Awaitable[T]]) -> T:
        delay = 0.05
        while True:
            try:
                return await call()
            except (RedisError, OSError) as error:
                log.warning("redis_unreachable", error=str(error))
                await anyio.sleep(delay)
                delay = min(BACKOFF_S_MAX, delay * 2)

    async def _announce_long(self) -> None:
        while True:
            await anyio.sleep(STARTED_AFTER_S / 2)
            limit = time.monotonic() - STARTED_AFTER_S
            for work in list(self._running.values()):
                if not work.is_announced and work.started_at < limit:
                    work.is_announced = True
                    self._note(self._settler.announce(work))

    def _spawn(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        assert self._group is not None
        self._group.start_soon(function, *arguments)


def _no_lane(transition: Transition) -> None:
    del transition
    raise AssertionError("the executor does not run")


def read_token(token: list[bytes], plan: Plan) -> Work:
    """Return the work that ``advance`` handed out: see lua/includes/deliver.lua for the order."""
    number, entry, run_id, key, phase, _, record, *values = token
    fence, _, _, _, kind, _, attempt, extra, _, live = record.decode().split("|")
    node, scope = parse_token_key(key.decode())
    return Work(
        run_id=run_id.decode(),
        key=key.decode(),
        fence=fence,
        stream=int(number),
        entry=entry.decode(),
        phase=phase.decode(),
        plan=plan,
        number=node,
        scope=scope,
        kind=TokenKind(kind),
        attempt=int(attempt),
        extra=extra,
        live=live,
        values=list(values),
    )
