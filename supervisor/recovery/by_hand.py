"""Recovery by hand: what a supervisor does by itself, for a person who wants to see it done, or has to decide.

A partition that stands well is left alone unless it is forced: what workers have in their hands would be done twice.
"""

from __future__ import annotations

from enum import StrEnum

import anyio
import msgspec
from redis.asyncio import Redis

from ...sdk.client.client import Client
from ...sdk.errors import ServiceUnavailable
from ...sdk.floor.scripts import OUTBOX_HARD_MAX
from ...sdk.floor.standing import BEHIND_HINT, Standing, Verdict, judge, look
from ...sdk.stores.homes import recovery_lock
from ...sdk.stores.runs import count_unfinished
from .reconciler import Reconciler
from .recovery import Recovered, Recovery

LOCK_S = 60.0
"""How long somebody else's recovery is waited for."""


class Action(StrEnum):
    NONE = "none"
    RECOVERED = "recovered"


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a recovery would do: runs to rebuild, outbox entries to record, and entries that continue nothing."""

    standing: Standing
    is_needed: bool
    runs: int
    to_record: int
    to_set_aside: int


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """``recovered``: None where nothing was to be done. ``starts``: committed starts that were applied again."""

    standing: Standing
    action: Action
    recovered: Recovered | None = None
    starts: int = 0


class ByHand:
    """Recovers single partitions. ``is_forced``: also one that stands well, or that another Redis has.

    ``accepts_loss``: where Postgres is behind Redis, the log as it is wins, and what Redis knows beyond it is lost.
    """

    def __init__(self, redis: Redis, client: Client, *, is_forced: bool = False, accepts_loss: bool = False) -> None:
        self._redis = redis
        self._client = client
        self._is_forced = is_forced
        self._accepts_loss = accepts_loss

    async def look(self, number: int) -> Standing:
        """Look at a partition. Raises ServiceUnavailable where it may not be recovered as things stand."""
        keys = self._client.keys
        async with self._client.pool.acquire() as conn:
            standing = judge(await look(self._redis, conn, keys.env, keys.partition(number), number), number)
        self._refuse(standing)
        return standing

    async def preview(self, number: int) -> Expected:
        """Say what ``recover`` would do. Changes nothing."""
        standing = await self.look(number)
        cursor = standing.look.cursor
        left = await self._recovery(number).count_left(cursor)
        async with self._client.pool.acquire() as conn:
            runs = await count_unfinished(conn, self._client.keys.env, number)
        continues = bool(standing.look.continues)
        return Expected(
            standing=standing,
            is_needed=self._is_needed(standing),
            runs=runs,
            to_record=left if continues else 0,
            to_set_aside=0 if continues else left,
        )

    async def recover(self, number: int) -> Done:
        """Recover a partition where that is needed; then apply the starts that only Postgres has.

        Raises ServiceUnavailable, TimeoutError where another recovery does not come to its end, Fenced.
        """
        client = self._client
        recovered: Recovered | None = None
        with anyio.fail_after(LOCK_S):
            while True:
                async with recovery_lock(client.pool, client.keys.env, number) as (conn, is_mine):
                    if is_mine:
                        standing = await self.look(number)
                        if self._is_needed(standing):
                            with anyio.CancelScope(shield=True):  # the time is for waiting, not for the work
                                recovered = await self._recovery(number).recover(conn, standing)
                        break
                await anyio.sleep(0.2)
        reconciler = Reconciler(
            self._redis, client.pool, client.keys, number, client.catalog, outbox_hard_max=OUTBOX_HARD_MAX
        )
        starts = 0
        while recovered is not None and (applied := await reconciler.apply(older_than_ms=0)):
            starts += applied
        action = Action.NONE if recovered is None else Action.RECOVERED
        return Done(standing=standing, action=action, recovered=recovered, starts=starts)

    def _is_needed(self, standing: Standing) -> bool:
        return self._is_forced or standing.verdict is not Verdict.SOUND

    def _refuse(self, standing: Standing) -> None:
        if standing.verdict is Verdict.BEHIND and not self._accepts_loss:
            raise ServiceUnavailable(standing.reason, hint=BEHIND_HINT)
        if standing.verdict is Verdict.ELSEWHERE and not self._is_forced:
            hint = "is this the right Redis? If the other one is gone for good, wait a little, or use --force"
            raise ServiceUnavailable(standing.reason, hint=hint)

    def _recovery(self, number: int) -> Recovery:
        client = self._client
        return Recovery(self._redis, client.pool, client.keys, number, client.catalog, self._node_ids)

    async def _node_ids(self, ir_hash: str) -> list[str]:
        return (await self._client.catalog.plan(ir_hash)).node_ids
