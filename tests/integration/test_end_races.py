"""Ten thousand races for the end of a run, at the scripts themselves: one of them wins, and all say which."""

from __future__ import annotations

import random
from collections import Counter

import anyio
import pytest
from redis.asyncio import Redis

from courante.sdk.connections import connect_redis
from courante.sdk.events import Facts, encode_blob, encode_facts
from courante.sdk.floor.calling import Connection
from courante.sdk.floor.scripts import Applied, apply_commands, finish_runs, look_at_runs
from courante.sdk.floor.starting import apply_starts
from courante.sdk.keys import Keys
from courante.sdk.stores.commands import StartCommand
from integration.heads import head_of
from integration.test_scripts import plan, settle
from model.first_tests import node
from model.hands import Hands

pytestmark = pytest.mark.anyio
RACES, BATCH = 10_000, 500
ALONE = plan(node("a"))
ENDS = {"COMPLETED": "run.completed", "CANCELLED": "run.cancelled"}


class Race:
    """A batch of runs of one step, and what became of each: verdicts of its cancel, and of who ended it as what."""

    def __init__(self, hands: Hands, runs: list[str], chance: random.Random) -> None:
        self.hands = hands
        self.runs = runs
        self.chance = chance
        self.cancelled: dict[str, str] = {}
        self.ended: Counter[tuple[str, str]] = Counter()

    def shuffled(self) -> list[str]:
        """The runs in an order of one's own: what comes first differs from run to run."""
        return self.chance.sample(self.runs, len(self.runs))

    async def run(self, others: list[Redis]) -> None:
        hands = self.hands
        starts = [
            StartCommand(
                env=hands.keys.env, run_id=run, partition=0, workflow="t", version=1, ir_hash=ALONE.hash, input=b""
            )
            for run in self.runs
        ]
        await apply_starts(
            hands.redis, hands.keys, hands.at, [(start, ALONE) for start in starts], outbox_hard_max=100_000
        )
        tokens = (await hands.advance(want=BATCH)).tokens
        assert len(tokens) == BATCH
        async with anyio.create_task_group() as group:
            group.start_soon(self.work, {token[2].decode(): token for token in tokens})
            group.start_soon(self.cancel, others[0])
            group.start_soon(self.complete, others[1])
            group.start_soon(self.complete, others[2])
        while tokens := (await hands.advance(want=BATCH)).tokens:  # of those that drain
            await hands.advance([settle(token, ALONE) for token in tokens])
        for found, run in zip(
            await look_at_runs(hands.redis, hands.at, [(run, "") for run in self.runs]), self.runs, strict=True
        ):
            if found.phase != "E":
                await self.end(hands.redis, run, "CANCELLED" if found.reason else "COMPLETED")

    async def work(self, tokens: dict[str, list[bytes]]) -> None:
        for run in self.shuffled():
            answer = await self.hands.advance([settle(tokens[run], ALONE)])
            assert answer.verdicts == "A"

    async def cancel(self, redis: Redis) -> None:
        for run in self.shuffled():
            self.cancelled[run] = await apply_commands(redis, self.hands.at, [Applied(run, 2, "cancel", "cancelled")])

    async def complete(self, redis: Redis) -> None:
        """A supervisor that holds every run for complete."""
        for run in self.shuffled():
            await self.end(redis, run, "COMPLETED")

    async def end(self, redis: Connection, run: str, status: str) -> None:
        blob = encode_blob([(encode_facts(Facts(type=ENDS[status])), b"1" if status == "COMPLETED" else None)])
        output = b"1" if status == "COMPLETED" else b""
        verdict = await finish_runs(redis, self.hands.at, ["supervisors", run, "", output, status, 1, blob])
        if verdict == "A":
            self.ended[run, status] += 1


async def test_a_cancel_and_the_last_completion_race_ten_thousand_times(redis_url: str, env_name: str) -> None:
    """F62: a cancel that was applied ends its run as CANCELLED, any other one finds it COMPLETED; each ends once."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    redis, *others = (connect_redis(redis_url) for _ in range(4))
    hands = Hands(redis, Keys(env_name))
    await hands.open()
    statuses: Counter[str] = Counter()
    for first in range(0, RACES, BATCH):
        race = Race(hands, [f"r{number}" for number in range(first, first + BATCH)], chance)
        await race.run(others)
        logged = await finals(redis, hands)
        for run in race.runs:
            ((found, status),) = [place for place in race.ended if place[0] == run]
            assert race.ended[found, status] == 1
            assert (race.cancelled[run], status) in {("A", "CANCELLED"), ("E", "COMPLETED")}
            assert logged[run] == [ENDS[status]]
            assert (await head_of(redis, hands.at.run(run))).phase == "E"
            assert await redis.hget(hands.at.run(run), "end") == status.encode()
            statuses[status] += 1
        await redis.delete(*(hands.at.run(run) for run in race.runs), hands.at.done)
        await hands.open()
    assert min(statuses.values()) > RACES / 100
    assert len(statuses) == 2
    for client in (redis, *others):
        await client.aclose()


async def finals(redis: Redis, hands: Hands) -> dict[str, list[str]]:
    """The ends that the outbox tells of each run; it is empty after that."""
    found: dict[str, list[str]] = {}
    for _, fields in await redis.xrange(hands.at.outbox):
        del fields[b"h"]
        for head, blob in fields.items():
            run = head.split(b"|")[0].decode()
            found.setdefault(run, []).extend(end for end in ENDS.values() if end.encode() in blob)
    await redis.xtrim(hands.at.outbox, maxlen=0)
    return found
