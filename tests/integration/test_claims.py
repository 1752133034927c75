"""Leases call by call, on a real Redis: what is taken over, kept, refused, and mended where somebody has meddled."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from courante.runner.nodes import INLINE
from courante.runner.settling import Settler
from courante.runner.transition import Transition
from courante.runner.work import read_token
from courante.sdk.connections import connect_blocking
from courante.sdk.floor.live_marking import read_marking
from courante.sdk.floor.repairs import audit_runs, halt_runs
from courante.sdk.floor.scripts import QUEUE_GROUP, BackPressure, Claims, claim_tokens, forget_consumers, renew_leases
from courante.sdk.floor.starting import apply_starts
from courante.sdk.fold.fold import fold
from courante.sdk.keys import Keys
from courante.sdk.marking.marking import RunPhase
from courante.sdk.marking.plan import Plan
from courante.sdk.outcomes.node_code import compile_node
from courante.sdk.outcomes.outcomes import Succeeded
from courante.sdk.stores.commands import StartCommand
from courante.supervisor.leases import Leases
from courante.supervisor.recovery.audit import Audit
from integration.heads import head_of, put_head
from integration.stage import HOUR_MS, until
from model.agreement import agree
from model.compiled import plan_of
from model.first_tests import node
from model.hands import CONSUMER, Found, Hands

pytestmark = pytest.mark.anyio
NORMAL, HIGH = 4, 2
"""Numbers of the streams ``default:normal`` and ``default:high``."""
ONE = plan_of({"courante": 1, "id": "t", "nodes": [node("a"), node("b", "a")]})
WAITS = plan_of({"courante": 1, "id": "t", "nodes": [node("w", type="wait", config={"for": "1h"})]})


@pytest.fixture
def blocking(redis_url: str) -> BlockingRedis:
    return connect_blocking(redis_url, timeout_s=5)


@pytest.fixture
async def hands(redis: Redis, env_name: str) -> Hands:
    made = Hands(redis, Keys(env_name))
    await made.open()
    return made


def one(hands: Hands) -> Redis:
    """The connection to a single server."""
    assert isinstance(hands.redis, Redis)
    return hands.redis


async def start(hands: Hands, *run_ids: str, plan: Plan = ONE) -> None:
    for run_id in run_ids:
        command = StartCommand(
            env=hands.keys.env, run_id=run_id, partition=0, workflow="t", version=1, ir_hash=plan.hash, input=b"{}"
        )
        await apply_starts(hands.redis, hands.keys, hands.at, [(command, plan)], outbox_hard_max=100_000)


async def take(hands: Hands) -> list[bytes]:
    (token,) = (await hands.advance(want=1)).tokens
    return token


async def claim(hands: Hands, lease_ms: int = 0, limit: int = 100, **more: Any) -> Claims:
    return await claim_tokens(hands.redis, hands.at, lease_ms=lease_ms, limit=limit, **more)


def settled(token: list[bytes], plan: Plan = ONE) -> Transition:
    work = read_token(token, plan)
    work.code = compile_node(plan.ir, work.node)
    return Settler(CONSUMER).settle(work, Succeeded(b"1"))


def renew(
    blocking: BlockingRedis, hands: Hands, *tokens: list[bytes], due: int = 0, details: str = "", who: str = CONSUMER
) -> str:
    words: list[str | bytes | int] = [who]
    for token in tokens:
        words += [token[2], token[3], token[6].split(b"|")[0], token[0], token[1], due, details]
    return renew_leases(blocking, hands.at, hands.streams, words)


async def idle_ms(hands: Hands, token: list[bytes]) -> int:
    stream = hands.streams[int(token[0]) - 1]
    (found,) = await hands.redis.xpending_range(stream, QUEUE_GROUP, token[1], token[1], 1)
    return int(found["time_since_delivered"])


async def grow_old(hands: Hands, *tokens: list[bytes]) -> None:
    """Entries have been in their owner's hands for an hour, as Redis sees it."""
    for token in tokens:
        place = (hands.streams[int(token[0]) - 1], QUEUE_GROUP, CONSUMER, 0, [token[1]])
        await hands.redis.xclaim(*place, idle=HOUR_MS, justid=True)


async def check_log(hands: Hands, run_id: str = "r1", plan: Plan = ONE) -> list[str]:
    """The fold of the outbox is what Redis says; returns the types of its events."""
    events = await hands.events(plan.node_ids, run_id)
    live = await read_marking(hands.redis, hands.at, run_id)
    assert live is not None
    agree(live, fold(plan.ir, events), plan)
    return [event.facts.type for event in events]


async def test_a_stale_token_is_queued_again_with_a_higher_fence(hands: Hands) -> None:
    await start(hands, "r1")
    token = await take(hands)
    before = await hands.record("r1", "0")
    assert (await claim(hands)).claimed == 1
    after = await hands.record("r1", "0")
    assert before is not None
    assert after is not None
    assert int(after[0]) == int(before[0]) + 1
    assert await hands.lengths() == [0, 1, 0, 0, 0, 0]
    assert await hands.pending() == [0] * 6
    again = await take(hands)
    assert (again[2:4], int(again[0])) == (token[2:4], HIGH)
    assert again[6].split(b"|")[2] == b"1"
    assert await check_log(hands) == ["run.started", "token.claimed"]


async def test_a_young_token_is_left_alone(hands: Hands) -> None:
    await start(hands, "r1")
    await take(hands)
    assert await claim(hands, lease_ms=60_000) == (0, 0, 0, [])


async def test_supervisors_that_claim_at_once_make_one_entry(hands: Hands) -> None:
    """However many look, and however many entries there are, each token has one new entry."""
    await start(hands, *(f"r{number}" for number in range(50)))
    assert len((await hands.advance(want=100)).tokens) == 50
    found: list[int] = []

    async def look() -> None:
        found.append(await Leases(one(hands), hands.at, lease_ms=0, batch=7).look())

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(look)
    claimed = sum(found)
    tokens = (await hands.advance(want=1_000)).tokens
    assert claimed >= 50
    assert sorted(token[2] for token in tokens) == sorted({token[2] for token in tokens})
    assert len(tokens) == 50
    assert sum(int(token[6].split(b"|")[2]) for token in tokens) == claimed


async def test_a_zombie_changes_nothing(hands: Hands, blocking: BlockingRedis) -> None:
    """F07, F08: its transition and its renewal are STALE, and the new owner's entry is as it was."""
    await start(hands, "r1")
    zombie = await take(hands)
    await claim(hands)
    owner = await take(hands)
    await grow_old(hands, owner)
    state = await hands.state("r1")
    assert (await hands.advance([settled(zombie)])).verdicts == "S"
    assert renew(blocking, hands, zombie) == "S"
    assert await hands.state("r1") == state
    assert await idle_ms(hands, owner) >= HOUR_MS
    assert (await hands.advance([settled(owner)])).verdicts == "A"
    assert (await hands.advance([settled(zombie)])).verdicts == "D"


async def test_a_renewal_is_for_the_owner_alone(hands: Hands, blocking: BlockingRedis) -> None:
    """F08: whoever else renews it hears STALE, and its idle time goes on."""
    await start(hands, "r1")
    token = await take(hands)
    await grow_old(hands, token)
    assert renew(blocking, hands, token, who="another") == "S"
    assert await idle_ms(hands, token) >= HOUR_MS
    assert renew(blocking, hands, token) == "A"
    assert await idle_ms(hands, token) < HOUR_MS
    assert await claim(hands, lease_ms=HOUR_MS) == (0, 0, 0, [])


async def test_a_renewal_after_the_attempts_time_is_refused(hands: Hands, blocking: BlockingRedis) -> None:
    """The lease is not extended beyond the node's limit, by the clock of Redis (F11, F19)."""
    await start(hands, "r1")
    token = await take(hands)
    await grow_old(hands, token)
    assert renew(blocking, hands, token, due=1) == "O"
    assert await idle_ms(hands, token) >= HOUR_MS
    assert renew(blocking, hands, token, due=2**45) == "A"


async def test_a_renewal_says_that_the_run_drains_or_stands_still(hands: Hands, blocking: BlockingRedis) -> None:
    await start(hands, "r1", "r2")
    tokens = (await hands.advance(want=2)).tokens
    head = await head_of(one(hands), hands.at.run("r1"))
    await put_head(one(hands), hands.at.run("r1"), head._replace(phase=RunPhase.DRAINING))
    await halt_runs(hands.redis, hands.at, ["r2"])
    assert renew(blocking, hands, *tokens) == "DE"


async def test_details_are_kept_in_the_run(hands: Hands, blocking: BlockingRedis) -> None:
    await start(hands, "r1")
    token = await take(hands)
    assert renew(blocking, hands, token, details='{"at":1}') == "A"
    assert await hands.redis.hget(hands.at.run("r1"), "d0") == b'{"at":1}'
    assert renew(blocking, hands, token) == "A"
    assert await hands.redis.hget(hands.at.run("r1"), "d0") == b'{"at":1}'


async def test_entries_that_mean_nothing_are_dropped(hands: Hands) -> None:
    """F06: a duplicate of an entry, one of a token that is gone, and one that nobody can read."""
    await start(hands, "r1", "r2")
    (first, gone) = await hands.read()
    for words in (f"{first.run}|{first.token}|{first.fence}", "garbage", "r9|0|1"):
        await hands.redis.xadd(hands.streams[NORMAL - 1], {"t": words})
    await hands.redis.xreadgroup(QUEUE_GROUP, CONSUMER, dict.fromkeys(hands.streams, ">"))
    await hands.redis.delete(hands.at.run(gone.run))
    assert await claim(hands) == (1, 4, 0, [])
    assert await hands.lengths() == [0, 1, 0, 0, 0, 0]


async def test_a_stale_duplicate_takes_nothing_from_the_owner(hands: Hands, blocking: BlockingRedis) -> None:
    """F06: the entry that the record names is renewed, the other one is dropped, and no fence is raised."""
    await start(hands, "r1")
    token = await take(hands)
    stream = hands.streams[NORMAL - 1]
    entry = await hands.redis.xadd(stream, {"t": b"|".join((*token[2:4], token[6].split(b"|")[0]))})
    await hands.redis.xreadgroup(QUEUE_GROUP, CONSUMER, {stream: ">"})
    await grow_old(hands, token, [token[0], entry])
    assert renew(blocking, hands, token) == "A"
    assert await claim(hands, lease_ms=HOUR_MS) == (0, 1, 0, [])
    assert await hands.lengths() == [0, 0, 0, 1, 0, 0]
    assert (await hands.advance([settled(token)])).verdicts == "A"


async def test_an_entry_of_before_the_takeover_is_dropped(hands: Hands) -> None:
    """F06: the token was queued again with a higher fence; an entry with the one before hands out nothing."""
    await start(hands, "r1")
    token = await take(hands)
    fence = token[6].decode().split("|")[0]
    await claim(hands)
    await hands.knock(Found(int(token[0]), token[1].decode(), "r1", token[3].decode(), fence))
    (again,) = (await hands.advance(want=5)).tokens
    assert int(again[6].split(b"|")[0]) == int(fence) + 1
    assert sum(await hands.pending()) == 1


async def test_a_look_is_bounded_and_goes_past_what_it_leaves(hands: Hands) -> None:
    """Entries of halted runs stay where they are, and hide nobody else's."""
    await start(hands, *(f"r{number}" for number in range(9)))
    assert len((await hands.advance(want=100)).tokens) == 9
    await halt_runs(hands.redis, hands.at, [f"r{number}" for number in range(6)])
    first = await claim(hands, limit=4)
    assert (first.claimed, len(first.following) > 0) == (0, True)
    assert await Leases(one(hands), hands.at, lease_ms=0, batch=4).look() == 3
    assert sum(await hands.pending()) == 6


async def test_an_unreadable_record_halts_its_run(hands: Hands) -> None:
    await start(hands, "r1")
    await take(hands)
    await hands.redis.hset(hands.at.run("r1"), mapping={"t0": "4294967297|q|what"})
    assert await claim(hands) == (0, 0, 0, [])
    assert (await head_of(one(hands), hands.at.run("r1"))).phase == "H"


async def test_trimmed_entries_are_made_again(hands: Hands) -> None:
    """F33: those that were pending are told of by the look, those that nobody had by the audit alone."""
    await start(hands, "r1", "r2", "r3")
    await take(hands)
    await hands.redis.xtrim(hands.streams[NORMAL - 1], maxlen=0)
    told: list[str] = []
    assert await Leases(one(hands), hands.at, lease_ms=0, on_lost=lambda: told.append("lost")).look() == 0
    assert told == ["lost"]
    audit = Audit(one(hands), hands.at)
    assert await audit.walk() == 3
    assert await audit.walk() == 0
    assert len((await hands.advance(want=10)).tokens) == 3
    assert await check_log(hands) == ["run.started", "token.claimed"]


async def test_what_was_pending_for_a_deleted_consumer_is_made_again(hands: Hands) -> None:
    """F34: the entry is in its stream and nobody will ever be given it."""
    await start(hands, "r1", "r2")
    await take(hands)
    await hands.redis.xgroup_delconsumer(hands.streams[NORMAL - 1], QUEUE_GROUP, CONSUMER)
    assert await claim(hands) == (0, 0, 0, [])
    assert await Audit(one(hands), hands.at).walk() == 1
    assert len((await hands.advance(want=10)).tokens) == 2
    assert await hands.lengths() == [0, 1, 0, 1, 0, 0]


async def test_a_worker_that_lives_is_given_back_what_was_deleted(hands: Hands, blocking: BlockingRedis) -> None:
    """By the record it is still its own: the renewal makes it pending again."""
    await start(hands, "r1")
    token = await take(hands)
    await hands.redis.xgroup_delconsumer(hands.streams[NORMAL - 1], QUEUE_GROUP, CONSUMER)
    assert renew(blocking, hands, token) == "A"
    assert await hands.pending() == [0, 0, 0, 1, 0, 0]
    assert (await hands.advance([settled(token)])).verdicts == "A"


async def test_consumers_with_pending_entries_are_not_forgotten(hands: Hands) -> None:
    """F34: only a script that sees that nothing is pending takes a consumer out."""
    await start(hands, "r1")
    await take(hands)
    await hands.redis.xreadgroup(QUEUE_GROUP, "idle", dict.fromkeys(hands.streams, ">"))
    assert await forget_consumers(hands.redis, hands.at, hands.streams, [CONSUMER, "idle"]) == "PA"
    names = [found["name"] for found in await hands.redis.xinfo_consumers(hands.streams[NORMAL - 1], QUEUE_GROUP)]
    assert names == [CONSUMER.encode()]
    assert await Leases(one(hands), hands.at, lease_ms=0, forget_after_s=0).forget() <= 1
    assert await hands.pending() == [0, 0, 0, 1, 0, 0]


async def test_silent_consumers_are_forgotten(hands: Hands) -> None:
    """One that has tried to read of late is kept."""
    await hands.redis.xreadgroup(QUEUE_GROUP, "dead", dict.fromkeys(hands.streams, ">"))
    stream = hands.streams[NORMAL - 1]
    await until(lambda: hands.redis.xinfo_consumers(stream, QUEUE_GROUP), lambda found: found[0]["idle"] > 1_000)
    await hands.redis.xreadgroup(QUEUE_GROUP, "alive", dict.fromkeys(hands.streams, ">"))
    assert await Leases(one(hands), hands.at, lease_ms=0, forget_after_s=1).forget() == 1
    names = {found["name"] for found in await hands.redis.xinfo_consumers(hands.streams[NORMAL - 1], QUEUE_GROUP)}
    assert names == {b"alive"}


async def test_a_timer_that_is_gone_is_set_again(hands: Hands) -> None:
    await start(hands, "r1", plan=WAITS)
    token = await take(hands)
    work = read_token(token, WAITS)
    work.code = compile_node(WAITS.ir, work.node)
    assert (await hands.advance([Settler(CONSUMER).settle(work, INLINE["wait"](work))])).verdicts == "A"
    timers = await hands.redis.execute_command("ZRANGE", hands.at.timers, 0, -1, "WITHSCORES")
    await hands.redis.delete(hands.at.timers)
    found = await audit_runs(hands.redis, hands.at, ["r1"])
    assert (found.timed, found.requeued, found.halted) == (1, 0, [])
    assert await hands.redis.execute_command("ZRANGE", hands.at.timers, 0, -1, "WITHSCORES") == timers


@pytest.mark.parametrize("wrong", [{"counter": 5}, {"unfinished": 5}], ids=lambda wrong: "".join(wrong))
async def test_a_wrong_counter_halts_its_run(hands: Hands, wrong: Any) -> None:
    await start(hands, "r1", "r2")
    key = hands.at.run("r1")
    head = await head_of(one(hands), key)
    await put_head(one(hands), key, head._replace(**wrong))
    found = await audit_runs(hands.redis, hands.at, ["r1", "r2", "unknown"])
    assert (found.seen, found.halted) == (3, ["r1"])
    assert (await head_of(one(hands), key)).phase == "H"


async def test_an_audit_is_bounded_and_goes_on(hands: Hands) -> None:
    """A run with very many fields is looked at in pages, and many runs in several calls."""
    await start(hands, "r1", "r2", "r3")
    await hands.redis.hset(hands.at.run("r2"), mapping={f"o9:{number}": "1" for number in range(2_500)})
    await hands.redis.xtrim(hands.streams[NORMAL - 1], maxlen=0)
    ids, cursor, requeued, calls = ["r1", "r2", "r3"], "0", 0, 0
    while ids:
        found = await audit_runs(hands.redis, hands.at, ids, cursor=cursor, fields=2)
        requeued += found.requeued
        ids, cursor = ids[found.seen :], found.cursor
        calls += 1
    assert requeued == 3
    assert calls > 3


async def test_a_run_of_many_tokens_is_looked_at_in_parts(hands: Hands) -> None:
    """Its counters at once; what would wake its tokens some at a time, so that no call is long."""
    plan = plan_of({"courante": 1, "id": "t", "nodes": [node(f"n{number}") for number in range(60)]})
    await start(hands, "r1", plan=plan)
    tokens = [field for field in await one(hands).hkeys(hands.at.run("r1")) if field.startswith(b"t")]
    assert len(tokens) == 60
    await hands.redis.xtrim(hands.streams[NORMAL - 1], maxlen=0)
    first = await audit_runs(hands.redis, hands.at, ["r1"])
    assert (first.seen, first.cursor != "0", first.requeued < 60) == (0, True, True)
    assert await Audit(one(hands), hands.at).walk() == 60 - first.requeued
    assert await Audit(one(hands), hands.at).walk() == 0


async def test_the_outbox_at_its_limit_stops_takeovers(hands: Hands) -> None:
    await start(hands, "r1")
    await take(hands)
    with pytest.raises(BackPressure):
        await claim(hands, outbox_hard_max=0)
    with pytest.raises(BackPressure):
        await audit_runs(hands.redis, hands.at, ["r1"], outbox_hard_max=0)
