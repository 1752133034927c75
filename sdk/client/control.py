"""Control: what people and programs outside ask of a run that goes on.

A command is checked at the door, committed and numbered in Postgres, and then applied to Redis by an idempotent script
(``commanding``). What Postgres has committed is accepted: where Redis is away, the reconciler applies it later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import anyio
import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ...compiler.ir import signals_of
from ..errors import InputInvalid, RunNotFound
from ..floor.commanding import GAP, apply_in_order, last_applied, token_of
from ..floor.scripts import OUTBOX_HARD_MAX, BackPressure, Closed
from ..json_values import NotJson
from ..keys import Keys
from ..marking.marking import Place
from ..marking.named_steps import find_step
from ..marking.plan import Plan
from ..sealing.payload_terms import PAYLOAD_BYTES_MAX
from ..stores.command_bodies import Body, encode_body, seal_body
from ..stores.commands import Command, CommandedRun, Decided, append_command, commands_after, find_run
from ..stores.connection import Connection, Pool
from ..stores.errors import UnknownRun
from ..submissions.catalog import Catalog
from ..submissions.said_texts import check_said
from ..unavailable import AsUnavailable
from .separation import check_separate

State = Literal["applied", "no_effect", "accepted"]
APPLY_S = 10.0
CANCEL = "!cancel"
"""What a cancel decides: a run is cancelled once, and who asks again is told so."""
FORCES = frozenset({"force_succeed", "force_skip"})
"""What ends a wait for a decision in the place of one."""
_STATES: dict[str, tuple[State, str]] = {
    "A": ("applied", ""),
    "D": ("applied", ""),
    "N": ("no_effect", "there was nothing that it could act on"),
    "E": ("no_effect", "the run has ended"),
    "U": ("accepted", "the run has not begun yet"),
    "C": ("accepted", "the run is halted and waits for repair"),
    "G": ("accepted", "what was asked before comes first"),
}
log = structlog.get_logger()


class Commanded(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a command. ``number``: in its run; 0 where it was not even written down, as nothing could change.

    ``state``: applied; no_effect: applied, and there was nothing to act on; accepted: durable, and applied as soon as
    Redis and the run are there. ``reason``: why it is not plainly applied. ``by``: who has given it, as the log has it.
    """

    run_id: str
    number: int
    state: State
    reason: str = ""
    by: str | None = None


class Said(NamedTuple):
    """What one of several commands says. ``decides``: what it decides, once."""

    body: Body
    by: str
    decides: str


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is commanded, as Postgres knows it."""

    run_id: str
    run: CommandedRun
    plan: Plan


class Control:
    """Gives commands to the runs of one environment. Safe for any number of tasks."""

    def __init__(
        self, redis: Redis, pool: Pool, keys: Keys, catalog: Catalog, *, outbox_hard_max: int = OUTBOX_HARD_MAX
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._catalog = catalog
        self._outbox_hard_max = outbox_hard_max

    async def find(self, conn: Connection, run_id: str) -> Target:
        """Raises RunNotFound."""
        try:
            run = await find_run(conn, self._keys.env, run_id)
        except UnknownRun as error:
            raise RunNotFound(str(error)) from error
        return Target(run_id=run_id, run=run, plan=await self._catalog.known_plan(run.ir_hash, conn))

    async def about_run(self, run_id: str, kind: str, body: Body, by: str | None) -> Commanded:
        """Cancel, pause or resume. Raises RunNotFound, InputInvalid, ServiceUnavailable."""
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                target = await self.find(conn, run_id)
                return await self.give(conn, target, kind, body, by, decides=CANCEL if kind == "cancel" else None)

    async def about_step(self, run_id: str, kind: str, step: str, scope: str, body: Body, by: str | None) -> Commanded:
        """Cancel a step, or force it to an end.

        Raises RunNotFound, StepNotFound, InputInvalid, ApproverNotSeparate, ServiceUnavailable.
        """
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                target = await self.find(conn, run_id)
                number, key = find_step(target.plan, step, scope)
                if kind in FORCES:
                    await check_separate(conn, run_id, target.plan.ir.nodes[number], by)
                said = msgspec.structs.replace(body, step=target.plan.node_ids[number], scope=key)
                return await self.give(conn, target, kind, said, by)

    async def signal(self, run_id: str, name: str, data: Any, by: str | None) -> Commanded:
        """Raises RunNotFound, InputInvalid where no step of the run waits for such a name, ServiceUnavailable."""
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                target = await self.find(conn, run_id)
                check_signal(target.plan, name)
                return await self.give(conn, target, "signal", Body(name=name, data=data), by)

    async def give(
        self, conn: Connection, target: Target, kind: str, body: Body, by: str | None, *, decides: str | None = None
    ) -> Commanded:
        """Commit one command and apply it. Who cancels twice gets the first answer; raises DecidedBefore otherwise."""
        content = _checked(body, by)
        run_id = target.run_id
        if target.run.finished_at is not None:
            reason = f"the run is {target.run.status}"
            return Commanded(run_id=run_id, number=0, state="no_effect", reason=reason, by=by)
        command = await append_command(conn, run_id, kind, content, by=by, decides=decides)
        if isinstance(command, Decided):
            if decides != CANCEL:
                raise DecidedBefore(command)
            command = Command(**msgspec.structs.asdict(command), decides=decides)
        state, reason = await self._apply(conn, target, [command])
        return Commanded(run_id=run_id, number=command.number, state=state, reason=reason, by=by)

    async def give_all(self, conn: Connection, target: Target, kind: str, said: Sequence[Said]) -> None:
        """Commit commands of one run together, and apply them. What was decided before is left as it is."""
        if target.run.finished_at is not None:
            return
        given: list[Command] = []
        async with conn.transaction():
            for body, by, decides in said:
                content = _checked(body, by)
                command = await append_command(conn, target.run_id, kind, content, by=by, decides=decides)
                given += [command] if isinstance(command, Command) else []
        if given:
            await self._apply(conn, target, given)

    async def _apply(self, conn: Connection, target: Target, commands: Sequence[Command]) -> tuple[State, str]:
        """Apply the newest commands of a run; return what became of the last one."""
        try:
            with anyio.fail_after(APPLY_S):
                return _STATES[await self._apply_up_to(conn, target, commands)]
        except Closed:
            reason = "Redis has lost its state and is being recovered"
        except BackPressure:
            reason = "the outbox is full: is the recorder running?"
        except (RedisError, OSError) as error:
            reason = f"Redis: {error or type(error).__name__}"
        log.warning("command_left_to_reconciler", run_id=target.run_id, number=commands[-1].number, error=reason)
        return "accepted", reason

    async def _apply_up_to(self, conn: Connection, target: Target, commands: Sequence[Command]) -> str:
        """Apply commands, and what is missing before them. Returns the letter of the last one."""
        last = commands[-1].number
        verdicts = await self._send(target, commands)
        if GAP in verdicts:
            known = await last_applied(self._redis, self._keys.partition(target.run.partition), target.run_id)
            missing = [one for one in await commands_after(conn, target.run_id, known) if one.number <= last]
            verdicts = await self._send(target, missing)
        return verdicts[-1]

    async def _send(self, target: Target, commands: Sequence[Command]) -> str:
        return await apply_in_order(
            self._redis,
            self._keys,
            self._keys.partition(target.run.partition),
            [(target.run_id, target.plan, command) for command in commands],
            outbox_hard_max=self._outbox_hard_max,
        )

    async def token_record(self, target: Target, body: Body) -> TokenRecord | None:
        """Return what Redis says of a token now; None where it cannot be asked."""
        keys, token = self._keys.partition(target.run.partition), token_of(target.plan, body)
        try:
            found: list[bytes | None] = await self._redis.execute_command(
                "HMGET", keys.run(target.run_id), "h", f"t{token}", f"W{token}"
            )
        except (RedisError, OSError):
            return None
        if found[0] is None:
            return None
        if found[1] is None:
            return TokenRecord(lives=False)
        _, place, _, _, kind, _, attempt, extra, *_ = found[1].decode().split("|")
        waits = frozenset((found[2] or b"").decode().split()) if place == Place.SIGNAL else frozenset[str]()
        word = extra.rpartition("+")[2]
        return TokenRecord(lives=kind == "n", place=place, attempt=int(attempt), word=word, waits=waits)


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A token of a run that Redis knows. ``word``: the last thing that happened to it (``marking.Token.extra``).

    ``waits``: the names of signals that it waits for.
    """

    lives: bool
    place: str = ""
    attempt: int = 0
    word: str = ""
    waits: frozenset[str] = frozenset()


class DecidedBefore(Exception):
    """Somebody else was first; whoever knows what it was about says so."""

    def __init__(self, decided: Decided) -> None:
        super().__init__(decided.type)
        self.decided = decided


def check_signal(plan: Plan, name: str) -> None:
    """Raises InputInvalid where nothing in the workflow ever waits for this signal."""
    known = sorted({each for node in plan.ir.nodes for each in signals_of(node)})
    if name in known:
        return
    told = f"no step of {plan.ir.workflow!r} waits for a signal {name!r:.200}"
    hint = f"it waits for: {', '.join(known)}" if known else "it waits for no signal at all"
    raise InputInvalid(told, [told], hint=hint)


def _checked(body: Body, by: str | None) -> bytes:
    """Return what is stored of it. Raises InputInvalid, naming the field."""
    check_said(by=by, reason=body.reason, comment=body.comment, error=body.error)
    try:
        content = encode_body(body)
    except NotJson as error:
        raise InputInvalid(f"it is no JSON value: {error}") from error
    if len(content) > PAYLOAD_BYTES_MAX:
        raise InputInvalid(f"it has {len(content):,} bytes; at most {PAYLOAD_BYTES_MAX:,} are allowed")
    return seal_body(content)
