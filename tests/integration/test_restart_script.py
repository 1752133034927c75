"""One call puts a run on a real Redis that goes on from another one: hash, log and fold say the same, and it ends.

Base runs are simulated in memory. ``COURANTE_LIVE_EXAMPLES`` sets how many.
"""

from __future__ import annotations

import os
from asyncio import Runner
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from courante.sdk.floor.calling import Connection
from courante.sdk.floor.payloads import is_reference, load_payload
from courante.sdk.floor.scripts import Closed, Late
from courante.sdk.floor.starting import StartWindow
from courante.sdk.fold.fold import fold
from courante.sdk.marking.scopes import WAKER_NODE
from courante.sdk.reenactment import restarting
from courante.sdk.reenactment.restarting import RestartPlan, started
from courante.sdk.restarts import restart_calls
from courante.sdk.restarts.restart_calls import apply_restart
from courante.sdk.stores.commands import StartCommand
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Simulation
from model.compiled import plan_of
from model.eventful import Handlers, eventful, taste_of
from model.redis_floor import RedisFloor
from model.restarts import drawn_cuts, restart_of, take_over
from model.test_every_run_ends import simulate
from model.test_restarted_maps import CASES, Drawn
from model.test_restarted_maps import CHANCES as MAP_CHANCES

EXAMPLES = int(os.environ.get("COURANTE_LIVE_EXAMPLES", "25"))
FIRST = 200_000
FAR_MS = 9_000_000_000_000
VALUES = 7
"""Where the values of a delivered token begin: lua/includes/deliver.lua."""


class Begun(RedisFloor):
    """A floor on which runs go on from others. As a worker does, it brings what is stored apart; where the server was
    emptied in between, from what Postgres would have of it.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._cold: dict[bytes, bytes] = {}

    async def get(self, digest: bytes) -> bytes | None:
        return self._cold.get(digest)

    def take(self, want: int) -> list[list[bytes]]:
        return [self._bring(token) for token in super().take(want)]

    def reopen(self, entry: str) -> list[bytes] | None:
        token = super().reopen(entry)
        return None if token is None else self._bring(token)

    def look(self, fields: list[str]) -> list[bytes | None]:
        return [self._load(value) for value in super().look(fields)]

    def _bring(self, token: list[bytes]) -> list[bytes]:
        values: list[bytes | None] = [self._load(value) for value in token[VALUES:]]
        return [*token[:VALUES], *values]  # type: ignore[list-item]  # None, as Redis says it

    def _load(self, value: bytes | None) -> bytes | None:
        if value is None or not is_reference(value):
            return value
        return self.runner.run(load_payload(self.redis, self.hands.keys, value, self))

    def begin(self, restart: RestartPlan, *, epoch: int = 1, until_ms: int = FAR_MS) -> bool:
        keys, at = self.hands.keys, self.hands.at
        command = StartCommand(
            env=keys.env,
            run_id=self.run_id,
            partition=0,
            workflow="drawn",
            version=1,
            ir_hash=self.plan.hash,
            input=restart.marking.input,
            base_run_id="base",
            base_seq=7,
        )
        window = StartWindow(until_ms, {at.base: str(epoch)})
        is_new = self._do(apply_restart(self.redis, keys, at, command, restart, outbox_hard_max=100_000, window=window))
        for name in self.keys_like("blob:"):
            content = self._do(self.redis.get(name))
            assert content is not None
            self._cold[bytes.fromhex(name.decode().rpartition(":")[2])] = content
        return is_new

    def keys_like(self, pattern: str) -> list[bytes]:
        found: list[bytes] = self._do(self.redis.execute_command("KEYS", f"{self.hands.keys.prefix}*{pattern}*"))
        return found


def drawn(count: int) -> Iterator[tuple[int, Simulation, RestartPlan]]:
    for seed in range(FIRST, FIRST + count):
        base = simulate(seed)
        base.run()
        events = [event for call in base.log for event in call]
        for cut, renewed in drawn_cuts(base.plan, events, Random(seed), 2):
            restart = restart_of(base.plan, cut, renewed)
            if restart is not None:
                yield seed, base, restart


@pytest.mark.parametrize("is_small", [False, True], ids=["one call", "many calls"])
def test_a_run_goes_on_from_another_one(
    runner: Runner, floor_redis: Connection, is_small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where each call brings little: most fields are put aside first, and a waker queues most tokens."""
    if is_small:
        monkeypatch.setattr(restart_calls, "FIELDS_MAX", 3)
        monkeypatch.setattr(restart_calls, "BYTES_MAX", 10)
        monkeypatch.setattr(restart_calls, "SMALL_BYTES", 5)
        monkeypatch.setattr(restarting, "EMISSIONS_MAX", 1)
    aside = 0
    for seed, base, restart in drawn(EXAMPLES):
        floor = Begun(runner, floor_redis, base.plan)
        assert floor.begin(restart), seed
        assert not floor.begin(restart), "a run begins once"
        assert not floor.keys_like("staged")
        log = floor.events()
        expected = started(restart.marking, log[0].at_ms)
        found = fold(base.plan.ir, log)
        aside += (WAKER_NODE, ()) in found.tokens
        assert is_small or found == expected, seed
        assert found.tokens == expected.tokens
        handlers = Handlers(eventful(seed, taste_of(seed)), seed)
        again = Simulation(plan=base.plan, handler=handlers, floor=floor, seed=seed, input=b"{}", chances=base.chances)
        take_over(again, log)
        again.drive()
        floor.close()
    assert bool(aside) == is_small


@pytest.mark.parametrize("name", ["collect, a window", "fail fast", "more"])
def test_maps_go_on(runner: Runner, floor_redis: Connection, name: str) -> None:
    plan = plan_of({"courante": 1, "id": "mapped", "policy": {"on_failure": "continue"}, "nodes": CASES[name]})
    base = Simulation(plan=plan, handler=Drawn(3), floor=MemoryFloor(plan), seed=3, chances=MAP_CHANCES)
    base.run()
    events = [event for call in base.log for event in call]
    met = 0
    for cut, renewed in drawn_cuts(plan, events, Random(3), 5):
        restart = restart_of(plan, cut, renewed)
        if restart is None:
            continue
        met += bool(restart.marking.maps)
        floor = Begun(runner, floor_redis, plan)
        assert floor.begin(restart)
        log = floor.events()
        assert fold(plan.ir, log) == started(restart.marking, log[0].at_ms)
        again = Simulation(plan=plan, handler=Drawn(3), floor=floor, seed=3, chances=MAP_CHANCES)
        take_over(again, log)
        again.drive()
        floor.close()
    assert met


def test_a_start_that_comes_late_changes_nothing(runner: Runner, floor_redis: Connection) -> None:
    """Neither after its window, nor in another epoch, nor where Redis has forgotten its epoch."""
    _, base, restart = next(drawn(5))
    floor = Begun(runner, floor_redis, base.plan)
    for wrong in ({"until_ms": 1}, {"epoch": 2}):
        with pytest.raises(Late):
            floor.begin(restart, **wrong)
    floor._do(floor_redis.execute_command("DEL", floor.hands.at.meta))  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(Closed):
        floor.begin(restart)
    assert not floor.keys_like("run:")
    floor.close()


def test_what_was_put_aside_and_lost_is_put_aside_again(
    runner: Runner, floor_redis: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's leftovers are no harm, and what has expired in between is brought again."""
    monkeypatch.setattr(restart_calls, "FIELDS_MAX", 3)
    _, base, restart = next(each for each in drawn(20) if len(each[2].fields) > 8)
    floor, real, lost = Begun(runner, floor_redis, base.plan), restart_calls.restart_run, [1]

    async def forgetful(*words: Any) -> str:
        if lost:
            lost.pop()
            staged = f"{floor.hands.at.base}staged:1:{floor.run_id}"
            assert await floor_redis.execute_command("HDEL", staged, "in") == 1
        return await real(*words)

    monkeypatch.setattr(restart_calls, "restart_run", forgetful)
    assert floor.begin(restart)
    assert fold(base.plan.ir, floor.events()).tokens == floor.marking().tokens
    floor.close()
