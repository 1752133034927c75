"""The monkey: seeded trouble, one thing after the other, in the middle of a seeded load.

What is done follows from the seed; when exactly it hits depends on the machine, so a seed makes a failure likely again,
not certain.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from chaos.processes import Process
from chaos.proxy import Proxy
from chaos.shapes import draw_cancelled, draw_orders
from chaos.site import SHORT_LEASE_MS, Site
from courante.sdk.floor.scripts import load_script

WORKERS = 4
SUPERVISORS = 2
CONCURRENCY = 4
NO_SERVER = 2
"""Exit code of the command line where a server cannot be used."""
LEASE_S = SHORT_LEASE_MS / 1000
Trick = Callable[["Monkey"], Awaitable[None]]


@dataclass
class Monkey:
    """``ways``: the proxies of each process. ``excess``: executions that Redis may have forgotten."""

    site: Site
    seed: int
    tricks: dict[str, Trick]
    chance: random.Random = field(init=False)
    workers: list[Process] = field(default_factory=list[Process])
    supervisors: list[Process] = field(default_factory=list[Process])
    ways: dict[int, list[Proxy]] = field(default_factory=dict[int, list[Proxy]])
    done: Counter[str] = field(default_factory=Counter[str])
    excess: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    async def run(self, seconds: float, *, load: int = 8, pause_s: float = 0.4) -> None:
        """Play tricks for a while, under load. load: runs that are ordered per second."""
        for _ in range(WORKERS):
            await self.add_worker()
        for _ in range(SUPERVISORS):
            await self.add_supervisor()
        await self.site.until_ready()
        until = time.monotonic() + seconds
        async with anyio.create_task_group() as group:
            group.start_soon(self._order, until, load)
            while time.monotonic() < until:
                await self._replace_ended()
                name = self.chance.choice(sorted(self.tricks))
                self.done[name] += 1
                await self.tricks[name](self)
                await anyio.sleep(self.chance.uniform(0.2, 1.8) * pause_s)
        for ways in self.ways.values():
            for way in ways:
                way.mend()
        await self._replace_ended()

    async def _replace_ended(self) -> None:
        """Start anew who found no server when it started, as a process manager does; nobody else ends by itself."""
        for members, add in ((self.workers, self.add_worker), (self.supervisors, self.add_supervisor)):
            for member in [one for one in members if one.code is not None]:
                assert member.code == NO_SERVER, f"{member.log} ended with {member.code}: {member.said()[-2000:]}"
                members.remove(member)
                await add()

    async def _order(self, until: float, load: int) -> None:
        turn = 0
        while time.monotonic() < until:
            seed = self.seed * 1_000 + turn
            await self.site.order([*draw_orders(seed, load), *draw_cancelled(seed, 2)], timeout_s=120)
            turn += 1
            await anyio.sleep(1)

    async def add_worker(self) -> None:
        way = await self.site.proxy(self.site.redis.port)
        worker = self.site.worker(redis=way, concurrency=CONCURRENCY)
        self.ways[worker.pid] = [way]
        self.workers.append(worker)

    async def add_supervisor(self) -> None:
        ways = [await self.site.proxy(server.port) for server in (self.site.redis, self.site.postgres)]
        supervisor = self.site.supervisor(redis=ways[0], postgres=ways[1])
        self.ways[supervisor.pid] = ways
        self.supervisors.append(supervisor)

    def one_of(self, members: list[Process]) -> Process:
        return self.chance.choice(members)


async def kill_worker(monkey: Monkey) -> None:
    worker = monkey.one_of(monkey.workers)
    worker.kill()
    monkey.workers.remove(worker)
    await monkey.add_worker()


async def freeze_worker(monkey: Monkey) -> None:
    worker = monkey.one_of(monkey.workers)
    worker.freeze()
    await anyio.sleep(monkey.chance.uniform(0.3, 2) * LEASE_S)
    worker.thaw()


async def replace_worker(monkey: Monkey) -> None:
    worker = monkey.one_of(monkey.workers)
    monkey.workers.remove(worker)
    await worker.stop()
    await monkey.add_worker()


async def kill_supervisor(monkey: Monkey) -> None:
    supervisor = monkey.one_of(monkey.supervisors)
    supervisor.kill()
    monkey.supervisors.remove(supervisor)
    await monkey.add_supervisor()


async def freeze_supervisor(monkey: Monkey) -> None:
    supervisor = monkey.one_of(monkey.supervisors)
    supervisor.freeze()
    await anyio.sleep(monkey.chance.uniform(0.3, 2) * LEASE_S)
    supervisor.thaw()


async def cut_shortly(monkey: Monkey) -> None:
    """For less than a lease: whoever is cut off keeps what it has."""
    way = _way(monkey, monkey.workers + monkey.supervisors)
    way.cut()
    await anyio.sleep(monkey.chance.uniform(0, 0.3) * LEASE_S)
    way.mend()


async def cut_worker(monkey: Monkey) -> None:
    way = _way(monkey, monkey.workers)
    way.cut()
    await anyio.sleep(monkey.chance.uniform(1, 2) * LEASE_S)
    way.mend()


async def cut_supervisor(monkey: Monkey) -> None:
    way = _way(monkey, monkey.supervisors)
    way.cut()
    await anyio.sleep(monkey.chance.uniform(0, 2) * LEASE_S)
    way.mend()


async def drop_connections(monkey: Monkey) -> None:
    _way(monkey, monkey.workers + monkey.supervisors).drop()


async def lose_answer(monkey: Monkey) -> None:
    _way(monkey, monkey.workers).lose_answer(load_script("advance").library.name.encode())


async def lose_commit(monkey: Monkey) -> None:
    monkey.ways[monkey.one_of(monkey.supervisors).pid][1].lose_answer(b"COMMIT")


async def slow_down(monkey: Monkey) -> None:
    way = _way(monkey, monkey.workers + monkey.supervisors)
    way.delay_s = 0.05
    await anyio.sleep(0.5)
    way.delay_s = 0


async def flush_scripts(monkey: Monkey) -> None:
    await monkey.site.redis.do("SCRIPT", "FLUSH")


async def kill_redis(monkey: Monkey) -> None:
    monkey.site.redis.kill()
    await monkey.site.redis.start()
    monkey.excess += WORKERS * CONCURRENCY


async def restart_redis(monkey: Monkey) -> None:
    await monkey.site.redis.process.stop()
    await monkey.site.redis.start()


async def kill_postgres(monkey: Monkey) -> None:
    monkey.site.postgres.kill()
    await anyio.sleep(monkey.chance.uniform(0, 1))
    await monkey.site.postgres.start()


async def restart_postgres(monkey: Monkey) -> None:
    await monkey.site.postgres.stop()
    await anyio.sleep(monkey.chance.uniform(0, 1))
    await monkey.site.postgres.start()


async def empty_redis(monkey: Monkey) -> None:
    await monkey.site.redis.do("FLUSHALL")
    monkey.excess += 1_000


async def set_redis_back(monkey: Monkey) -> None:
    copy = monkey.site.redis.keep_copy()
    await anyio.sleep(monkey.chance.uniform(0.1, 1))
    monkey.site.redis.kill()
    monkey.site.redis.set_back(copy)
    await monkey.site.redis.start()
    monkey.excess += 1_000


def _way(monkey: Monkey, members: list[Process]) -> Proxy:
    """A process's way to Redis."""
    return monkey.ways[monkey.one_of(members).pid][0]


def tricks() -> dict[str, Trick]:
    """What the engine can take by now."""
    known: list[Trick] = [
        replace_worker,
        kill_supervisor,
        freeze_supervisor,
        cut_shortly,
        cut_supervisor,
        drop_connections,
        lose_answer,
        lose_commit,
        slow_down,
        flush_scripts,
        restart_redis,
        kill_postgres,
        restart_postgres,
        kill_worker,
        freeze_worker,
        cut_worker,
        kill_redis,
        empty_redis,
        set_redis_back,
    ]
    return {trick.__name__: trick for trick in known}
