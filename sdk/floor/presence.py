"""Presence: which workers and supervisors live, as Redis knows them.

Workers announce themselves in ``workers``; one lives whose own key was refreshed of late, which the key's remaining
time to live tells by the clock of Redis.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ...compiler.ir import Ir, Node
from ..authoring.tools import handler_of, lacking
from ..connections import close_redis, connect_redis
from ..keys import Keys, PartitionKeys
from .scripts import DONE_GROUP, INTAKE_GROUP

FORGOTTEN_S = 3_600
"""A worker that has not been heard of for so long is not listed any more."""
ALIVE_MS = 20_000
FIELDS = ["pid", "handlers", "queues", "wanted"]
FUNCTION_FIELDS = ("handler", "input_selector")
SUPERVISOR_ALIVE_MS = 3_500
"""A supervisor asks for finished runs at least every two seconds."""


class Wanted(NamedTuple):
    """A handler that a step has asked a worker for in vain. ``step``: its node."""

    handler: str
    queue: str
    workflow: str
    step: str


class LiveWorker(msgspec.Struct, frozen=True, kw_only=True):
    """``handlers``: steps that it can call. ``queues``: what it reads beside ``system``.

    ``wanted``: what steps have asked it for of late that it has not.
    """

    name: str
    pid: int
    handlers: frozenset[str]
    queues: frozenset[str]
    wanted: tuple[Wanted, ...] = ()


async def find_workers(redis_url: str, env: str, partitions: int) -> list[LiveWorker]:
    """``live_workers`` over a connection of its own."""
    redis = connect_redis(redis_url)
    try:
        return await live_workers(redis, env, partitions)
    finally:
        await close_redis(redis)


async def live_workers(redis: Redis, env: str, partitions: int) -> list[LiveWorker]:
    """Return the workers that live and read every partition, in the order of their names."""
    found: list[dict[str, LiveWorker]] = []
    for number in range(partitions):
        keys = Keys(env).partition(number)
        here: dict[str, LiveWorker] = {}
        for name in [one.decode() for one in await redis.zrange(keys.workers, 0, -1)]:
            pipe = redis.pipeline(transaction=False)
            pipe.pttl(keys.worker(name))
            pipe.hmget(keys.worker(name), FIELDS)  # pyright: ignore[reportUnusedCoroutine]
            ttl_ms, found_of = cast("tuple[int, list[bytes | None]]", tuple(await pipe.execute()))
            pid, handlers, queues, wanted = found_of
            if ttl_ms < FORGOTTEN_S * 1_000 - ALIVE_MS or pid is None:
                continue
            here[name] = LiveWorker(
                name=name,
                pid=int(pid),
                handlers=_names(handlers),
                queues=_names(queues) | {"system"},
                wanted=msgspec.json.decode(wanted, type=tuple[Wanted, ...]) if wanted else (),
            )
        found.append(here)
    everywhere = set(found[0]).intersection(*found[1:]) if found else set[str]()
    return [found[0][name] for name in sorted(everywhere)]


def handlers_of(*irs: Ir) -> dict[str, str]:
    """Return the functions and tools that workflows name, each with the first node that does.

    Templated names are left out. Tools are called as ``tools.handler_of`` says.
    """
    handlers: dict[str, str] = {}
    for node in (node for ir in irs for node in ir.nodes):
        for name in _named_by(node):
            if "{{" not in name:
                handlers.setdefault(name, node.id)
    return handlers


def _named_by(node: Node) -> list[str]:
    if node.type == "function":
        names = [node.config.get(field) for field in FUNCTION_FIELDS]
        return [name for name in names if isinstance(name, str)]
    if node.type == "agent":
        return [handler_of(name) for name in node.config.get("tools", ())]
    return [handler_of(node.config["tool"])] if node.type == "tool" else []


def queues_of(*irs: Ir) -> list[str]:
    """Return the queues that the nodes of workflows stand in, without ``system``."""
    queues = dict.fromkeys(node.stream.rpartition(":")[0] for ir in irs for node in ir.nodes)
    queues.pop("system", None)
    return list(queues) or ["default"]


def can_serve(workers: Iterable[LiveWorker], *irs: Ir) -> bool:
    """Whether these workers together read every queue and know every handler of some workflows."""
    queues, handlers = set[str](), set[str]()
    for worker in workers:
        queues |= worker.queues
        handlers |= worker.handlers
    return queues.issuperset(queues_of(*irs)) and not lacking(handlers_of(*irs), handlers)


def wanted_by_nobody(workers: Iterable[LiveWorker]) -> list[Wanted]:
    """Return what steps have asked workers for that none who reads their queue has, one of each handler and queue."""
    workers, found = list(workers), dict[tuple[str, str], Wanted]()
    for one in sorted(one for worker in workers for one in worker.wanted):
        those = (worker.handlers for worker in workers if one.queue in worker.queues)
        if lacking([one.handler], frozenset[str]().union(*those)):
            found.setdefault((one.handler, one.queue), one)
    return list(found.values())


def _names(content: bytes | None) -> frozenset[str]:
    return frozenset(msgspec.json.decode(content, type=list[str])) if content else frozenset()


async def has_supervisor(redis: Redis, env: str, partitions: int) -> bool:
    """Whether every partition has a supervisor that asked for finished runs of late."""
    return all([await is_watched(redis, Keys(env).partition(number)) for number in range(partitions)])


async def is_watched(redis: Redis, keys: PartitionKeys) -> bool:
    """Whether one partition has such a supervisor."""
    try:
        rows = await redis.xinfo_consumers(keys.done, DONE_GROUP)
    except ResponseError:
        return False
    return any(row["idle"] < SUPERVISOR_ALIVE_MS for row in rows)


async def forget_supervisor(redis: Redis, env: str, partitions: int, name: str) -> None:
    """Drop the consumers of a supervisor that has ended, where nothing of its is pending."""
    for number in range(partitions):
        keys = Keys(env).partition(number)
        for stream, group in ((keys.done, DONE_GROUP), (keys.submit, INTAKE_GROUP)):
            try:
                if not await redis.xpending_range(stream, group, "-", "+", 1, consumername=name):
                    await redis.xgroup_delconsumer(stream, group, name)
            except (RedisError, OSError):  # it only looks alive for some seconds more
                return
