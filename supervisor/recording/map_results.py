"""Results of maps: they leave Redis when the log has them.

A run holds the results of chunks until its aggregate begins; of a large map that would be most of what it holds. What
is gone here is read from the log by whoever needs it (``sdk/floor/cold_payloads``), and a recovery writes none of it.

A Postgres that fails over to an older copy finds what it has lost in the outbox, until that is trimmed. What results
refer to, outputs that are stored apart, is in no entry: it stays in Redis for as long. So does the list of a map to
which items are added, when a longer one has taken its place. What another run or step that goes on refers to as well,
or may, as so many events do, stays until nobody has used it for long.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import structlog

from ...sdk.errors import WorkflowNotFound
from ...sdk.events import Facts
from ...sdk.keys import Keys
from ...sdk.marking.plan import context_field
from ...sdk.marking.scopes import Scope, parse_scope_key, scope_key
from ...sdk.stores.connection import Connection, Pool
from ...sdk.stores.queries import load_queries
from .blobs import batched, cool_payloads, named_in, results_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

NodeIds = Callable[[str], Awaitable[Sequence[str]]]
Lists = dict[tuple[str, str, Scope], bytes]
"""References to lists of items, by run, map and its scope."""
COLLECTOR = "results:"
"""In front of the id of a map the id of its collector begins so."""
EVENTS_MAX = 100
"""That are looked at to find out who else refers to a payload."""
DIGESTS_AT_ONCE = 500
LISTS_MAX = 10_000
"""Maps whose lists are remembered until longer ones come."""
_sql = load_queries("recorder")
log = structlog.get_logger()


class ToldResults(NamedTuple):
    """The results of a chunk, as an event tells them. ``map``: its id. ``place``: the map's scope, and the chunk."""

    run_id: str
    map: str
    place: Scope
    payload: bytes


class ToldItems(NamedTuple):
    """The list of a map that items are added to, stored apart, as an event tells it. ``is_last``: nothing is added."""

    run_id: str
    map: str
    place: Scope
    payload: bytes
    is_last: bool


Told: TypeAlias = ToldResults | ToldItems


class Outgrown(NamedTuple):
    """A list of a map whose place a longer one has taken. ``place``: the map's scope."""

    digest: bytes
    run_id: str
    map: str
    place: Scope


def told_results(run_id: str, facts: Facts, payload: bytes) -> Told | None:
    """Return the results or the items that an event tells, None where it tells none."""
    if facts.type not in ("fanout.collected", "fanout.restored"):
        is_last = facts.type == "step.succeeded"
        if payload[:1] != b"@" or "items" not in facts.data or not (is_last or facts.reason == "more"):
            return None
        return ToldItems(run_id, facts.node, parse_scope_key(facts.scope), payload, is_last)
    chunk = facts.data.get("chunk")
    if not isinstance(chunk, int):
        return None
    return ToldResults(run_id, facts.node.removeprefix(COLLECTOR), (*parse_scope_key(facts.scope), chunk), payload)


def _outgrown(lists: Lists, told: Sequence[ToldItems]) -> tuple[Lists, set[Outgrown]]:
    """Return the lists of maps after these, and those whose place they have taken.

    Of those that another recorder has seen nothing is known: they leave Redis when nobody has read them for long.
    """
    known, outgrown = dict(lists), set[Outgrown]()
    for each in told:
        place = each.run_id, each.map, each.place
        before = known.pop(place, each.payload)
        if before != each.payload:
            outgrown |= {Outgrown(digest, *place) for digest in named_in(before)}
        if not each.is_last:
            known[place] = each.payload
    for place in [*known][: max(0, len(known) - LISTS_MAX)]:
        del known[place]
    return known, outgrown


class MapResults:
    """Of one partition. ``node_ids``: ids of the nodes of an IR, in its order."""

    def __init__(self, redis: Redis, pool: Pool, env: str, partition: int, node_ids: NodeIds) -> None:
        self._redis = redis
        self._pool = pool
        self._env = env
        self._keys = Keys(env).partition(partition)
        self._node_ids = node_ids
        self._lists: Lists = {}

    async def let_go(self, told: Sequence[Told]) -> None:
        """Take results from the runs. Idempotent."""
        results = [each for each in told if isinstance(each, ToldResults)]
        if not results:
            return
        async with self._pool.acquire() as conn:
            maps = await self._maps(conn, {each.run_id for each in results})
        pipe = self._redis.pipeline(transaction=False)
        for each in results:
            nodes = maps.get(each.run_id, ())
            if each.map in nodes:
                field = context_field("r", nodes.index(each.map), each.place)
                pipe.hdel(self._keys.run(each.run_id), field)  # pyright: ignore[reportUnusedCoroutine]
        await pipe.execute()

    async def cool(self, told: Sequence[Told]) -> None:
        """Take from Redis what results refer to, and lists that others have taken the place of. Idempotent."""
        results = [each for each in told if isinstance(each, ToldResults) and named_in(each.payload)]
        lists = [each for each in told if isinstance(each, ToldItems)]
        known, outgrown = _outgrown(self._lists, lists) if lists else (self._lists, set[Outgrown]())
        if results or outgrown:
            async with self._pool.acquire() as conn:
                made = await results_of(self._redis, self._env, [each.payload for each in results])
                gone = {each.digest for each in outgrown}
                made -= await self._used_elsewhere(conn, made, results=results)
                gone -= await self._used_elsewhere(conn, gone, outgrown=outgrown)
                for some in batched(made | gone, DIGESTS_AT_ONCE):
                    await cool_payloads(self._redis, conn, self._env, some)
        self._lists = known

    async def _used_elsewhere(
        self,
        conn: Connection,
        digests: set[bytes],
        *,
        results: Collection[ToldResults] = (),
        outgrown: Collection[Outgrown] = (),
    ) -> set[bytes]:
        """Return those that something else refers to as well: of results another run that goes on, or a step that is
        no item; of lists whatever has not outgrown them, be it the same map in another run or scope.
        """
        runs, maps = list({each.run_id for each in results}), list({each.map for each in results})
        used = set[bytes]()
        for some in batched(digests, DIGESTS_AT_ONCE):
            asked, ours = [_hex(found) for found in some], [each for each in outgrown if each.digest in some]
            over = [
                [_hex(each.digest) for each in ours],
                [each.run_id for each in ours],
                [each.map for each in ours],
                [scope_key(each.place) for each in ours],
            ]
            rows = await conn.fetch(_sql["used_elsewhere"], self._env, asked, runs, maps, *over, EVENTS_MAX)
            used |= {bytes.fromhex(row["digest"].decode()) for row in rows}
        return used

    async def _maps(self, conn: Connection, run_ids: set[str]) -> dict[str, Sequence[str]]:
        """Return the ids of the nodes of runs, of those whose IR can be had. Nodes keep their numbers in later ones."""
        found: dict[str, Sequence[str]] = {}
        for row in await conn.fetch(_sql["irs_of_runs"], list(run_ids)):
            try:
                found[row["run_id"]] = await self._node_ids(row["ir_hash"])
            except WorkflowNotFound as error:
                log.warning("results_stay", run_id=row["run_id"], error=str(error))
        return found


def _hex(digest: bytes) -> bytes:
    """As references in payloads have it."""
    return digest.hex().encode()
