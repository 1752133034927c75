"""What the scripts answer and refuse, call by call, on a real Redis (reliability: F01-F10, F30, F59, F68, F69)."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from courante.runner.settling import Settler
from courante.runner.transition import Transition
from courante.runner.work import read_token
from courante.sdk.connections import connect_redis
from courante.sdk.corrupt import Corrupt
from courante.sdk.events import ErrorInfo
from courante.sdk.floor.live_marking import read_marking
from courante.sdk.floor.scripts import BackPressure, Closed, finish_runs, release_timers, start_runs
from courante.sdk.floor.starting import apply_starts
from courante.sdk.fold.fold import fold
from courante.sdk.keys import Keys
from courante.sdk.marking.marking import Marking, RunPhase
from courante.sdk.marking.plan import READS_MAX, Plan
from courante.sdk.marking.rules import EFFECTS_MAX
from courante.sdk.outcomes.node_code import compile_node
from courante.sdk.outcomes.outcomes import Failed, Outcome, Parked, Succeeded
from courante.sdk.stores.commands import StartCommand
from integration.heads import head_of, put_head
from model.agreement import agree
from model.compiled import plan_of
from model.first_tests import node
from model.hands import CONSUMER, Found, Hands

pytestmark = pytest.mark.anyio
RUN = "r1"
DONE = Succeeded(b"{}")
FAILED = Failed(ErrorInfo(type="FatalError", message="no"))
PARKED = Parked("+3600000")
CHUNK = 1_000
"""Most tokens that one page of a sweep takes away."""
OPERATION_WORDS = {
    "o": 3,
    "e": 3,
    "a": 8,
    "l": 3,
    "d": 4,
    "x": 2,
    "p": 3,
    "P": 4,
    "c": 2,
    "r": 2,
    "s": 1,
    "n": 1,
    "z": 2,
}


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect_redis(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def hands(redis: Redis, env_name: str) -> Hands:
    made = Hands(redis, Keys(env_name))
    await made.open()
    return made


def plan(*nodes: dict[str, object], on_failure: str = "fail_fast") -> Plan:
    return plan_of({"courante": 1, "id": "t", "policy": {"on_failure": on_failure}, "nodes": list(nodes)})


CHAIN = plan(node("a"), node("b", "a"))


async def start(hands: Hands, of: Plan, *, hard: int = 100_000) -> bool:
    command = StartCommand(
        env=hands.keys.env, run_id=RUN, partition=0, workflow="t", version=1, ir_hash=of.hash, input=b"{}"
    )
    (is_new,) = await apply_starts(hands.redis, hands.keys, hands.at, [(command, of)], outbox_hard_max=hard)
    return is_new


def settle(token: list[bytes], of: Plan, outcome: Callable[[str], Outcome] = lambda _: DONE) -> Transition:
    """What a worker makes of a token; ``outcome`` says what its node gives."""
    settler, work = Settler(CONSUMER), read_token(token, of)
    transition = settler.settle_engine_token(work)
    if transition is None:
        work.code = compile_node(of.ir, work.node)
        if len(work.node.reads) <= READS_MAX:
            work.input_bytes()
        transition = settler.settle(work, outcome(work.node.id))
    return transition


async def take_one(hands: Hands) -> list[bytes]:
    (token,) = (await hands.advance(want=1)).tokens
    return token


async def work_off(hands: Hands, of: Plan, outcome: Callable[[str], Outcome] = lambda _: DONE) -> list[int]:
    """Work until nothing is handed out; return the number of operations of each transition."""
    sizes: list[int] = []
    tokens = (await hands.advance(want=100)).tokens
    while tokens:
        batch = [settle(token, of, outcome) for token in tokens[:20]]
        sizes += [operations(found) for found in batch]
        answer = await hands.advance(batch, want=20)
        assert set(answer.verdicts) == {"A"}
        tokens = tokens[20:] + answer.tokens
    return sizes


def operations(transition: Transition) -> int:
    """How many operations its words are (lua/includes/transitions.lua)."""
    at, count = 8, 0
    while at < len(transition.words):
        at += OPERATION_WORDS[str(transition.words[at])]
        count += 1
    return count


async def dump(hands: Hands) -> dict[bytes, bytes]:
    """Every key of the environment, byte for byte; of the worker's last call nothing."""
    found = [key async for key in hands.redis.scan_iter(match=f"{hands.keys.prefix}*", count=1_000)]
    kept = [key for key in found if key != hands.at.worker(CONSUMER).encode()]
    return {key: await hands.redis.execute_command("DUMP", key, NEVER_DECODE=True) for key in kept}


async def marking(hands: Hands) -> Marking:
    found = await read_marking(hands.redis, hands.at, RUN)
    assert found is not None
    return found


async def test_a_server_that_forgot_the_scripts_is_told_again(hands: Hands, redis: Redis) -> None:
    assert await start(hands, CHAIN)
    await redis.script_flush()
    assert len((await hands.advance(want=5)).tokens) == 1


async def test_a_partition_without_an_epoch_refuses_everything(redis: Redis) -> None:
    """No script writes into a server that has forgotten its state."""
    hands = Hands(redis, Keys(f"t{secrets.token_hex(6)}"))
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: start(hands, CHAIN),
        hands.advance,
        lambda: release_timers(redis, hands.at, 10),
        lambda: finish_runs(redis, hands.at, ["supervisors", RUN, "", b"null", "COMPLETED", 0, b""]),
    ]
    for call in calls:
        with pytest.raises(Closed):
            await call()
    assert await dump(hands) == {}


async def test_a_full_outbox_refuses_before_any_write(hands: Hands, redis: Redis) -> None:
    """F42: over the hard limit BACKPRESSURE is all that a call does; over the soft one nothing is handed out."""
    await start(hands, CHAIN)
    transition = settle(await take_one(hands), CHAIN)
    before = await dump(hands)
    hands.limits = (0, 0)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: hands.advance([transition], want=5),
        lambda: release_timers(redis, hands.at, 10, outbox_hard_max=0),
        lambda: start_runs(redis, hands.at, [0, 0, "", "r2", CHAIN.hash, b"{}", 0, b"", 0]),
    ]
    for call in calls:
        with pytest.raises(BackPressure):
            await call()
    assert await dump(hands) == before
    hands.limits = (0, 100)
    answer = await hands.advance([transition], want=5)
    assert (answer.verdicts, answer.tokens) == ("A", []), "over the soft limit work is applied and none is given"


@pytest.mark.parametrize("name", ["outbox", "done", "timers", "worker", "queue", "meta"])
async def test_a_key_of_another_type_is_refused_before_any_write(hands: Hands, redis: Redis, name: str) -> None:
    """F30. The transition ends one step, parks nothing, and keeps an output; the other is parked."""
    waiting = plan(node("a"), node("b", "a"), node("w"))
    await start(hands, waiting)
    tokens = (await hands.advance(want=2)).tokens
    batch = [settle(token, waiting, lambda name: PARKED if name == "w" else DONE) for token in tokens]
    key = {
        "worker": hands.at.worker(CONSUMER),
        "queue": hands.at.queue("default:normal"),
    }.get(name) or str(getattr(hands.at, name))
    await redis.unlink(key)
    await redis.set(key, "something else")
    before = await dump(hands)
    with pytest.raises(ResponseError, match=r"WRONGTYPE|CORRUPT"):
        await hands.advance(batch, want=5)
    assert await dump(hands) == before


async def test_a_run_key_of_another_type_halts_that_run_only(hands: Hands, redis: Redis) -> None:
    """F30: its transition is CORRUPT, and whoever else is in the same call goes on."""
    await start(hands, CHAIN)
    transition = settle(await take_one(hands), CHAIN)
    await redis.unlink(hands.at.run(RUN))
    await redis.set(hands.at.run(RUN), "something else")
    before = await dump(hands)
    assert (await hands.advance([transition])).verdicts == "C"
    assert await dump(hands) == before


async def test_a_stale_fence_changes_nothing(hands: Hands) -> None:
    """F07: a zombie's transition leaves the new owner's pending entry alone."""
    await start(hands, CHAIN)
    transition = settle(await take_one(hands), CHAIN)
    before = await dump(hands)
    words = list(transition.words)
    words[2] = str(int(str(words[2])) - 1)
    assert (await hands.advance([Transition(words, transition.writes)])).verdicts == "S"
    assert await dump(hands) == before
    assert (await hands.advance([transition])).verdicts == "A"


async def test_a_duplicate_is_acknowledged_and_ignored(hands: Hands) -> None:
    """F06: the same entry by hand, while the first one is worked on, and when all is over."""
    await start(hands, CHAIN)
    token = await take_one(hands)
    found = _found(token)
    await hands.knock(found)
    answer = await hands.advance(want=5)
    assert answer.tokens == [], "its token is worked on, and nobody else is handed it"
    assert sum(await hands.pending()) == 1
    assert (await hands.advance([settle(token, CHAIN)])).verdicts == "A"
    assert await hands.events(CHAIN.node_ids, RUN)
    assert await hands.pending() == [0] * 6
    await hands.knock(found)
    answer = await hands.advance(want=5)
    assert [one[3] for one in answer.tokens] == [b"1"], "the late entry brought nothing but the next step"
    assert await hands.events(CHAIN.node_ids, RUN) == []


async def test_a_duplicate_takes_nothing_from_a_run_that_is_paused(hands: Hands, redis: Redis) -> None:
    """F06: it does not put the token aside that somebody works on: that goes on when it is handed in."""
    await start(hands, CHAIN)
    token = await take_one(hands)
    head = await head_of(redis, hands.at.run(RUN))
    await put_head(redis, hands.at.run(RUN), head._replace(phase=RunPhase.PAUSED))
    await hands.knock(_found(token))
    assert (await hands.advance(want=5)).tokens == []
    record = await redis.hget(hands.at.run(RUN), f"t{token[3].decode()}")
    assert record is not None
    assert record.split(b"|")[1] == b"q"
    assert (await hands.advance([settle(token, CHAIN)])).verdicts == "A"


async def test_the_same_call_number_gives_the_same_answer(hands: Hands) -> None:
    """F05: a lost reply is asked for again, and nothing happens twice."""
    await start(hands, CHAIN)
    transition = settle(await take_one(hands), CHAIN)
    first = await hands.advance([transition], want=5)
    before = await dump(hands)
    again = await hands.advance([transition], want=5, call=hands.calls)
    assert (first.verdicts, len(first.tokens)) == ("A", 1)
    assert (again.verdicts, again.tokens) == (first.verdicts, first.tokens)
    assert await dump(hands) == before


async def test_a_counter_that_lies_halts_the_run(hands: Hands, redis: Redis) -> None:
    """F59: it never goes below zero; nobody is handed a token of such a run."""
    await start(hands, CHAIN)
    transition = settle(await take_one(hands), CHAIN)
    await put_head(redis, hands.at.run(RUN), (await head_of(redis, hands.at.run(RUN)))._replace(counter=0))
    assert (await hands.advance([transition])).verdicts == "C"
    head = await head_of(redis, hands.at.run(RUN))
    assert (head.phase, head.counter) == ("H", 0)
    assert await redis.execute_command("XLEN", hands.at.done) == 0
    with pytest.raises(Corrupt, match="the counter is 0, and 1 tokens live"):
        await read_marking(redis, hands.at, RUN)


async def test_a_join_a_thousand_wide_fires_once_and_no_call_is_long(hands: Hands) -> None:
    """F68, F69: one node of 1,000 edges, every second path dies; a cursor does what is beyond the limit."""
    width = 1_000
    edges = [{"from": "a", "to": f"n{at}", "when": f"{at % 2} == 0"} for at in range(width)]
    nodes = [node("a"), *(node(f"n{at}") for at in range(width)), node("j", *(f"n{at}" for at in range(width)))]
    wide = plan_of({"courante": 1, "id": "t", "nodes": nodes, "edges": edges})
    await start(hands, wide)
    sizes = await work_off(hands, wide)
    assert sorted(sizes)[-2:] == [EFFECTS_MAX, EFFECTS_MAX + 2], "the first keeps an output and leaves a cursor"
    events = await hands.events(wide.node_ids, RUN)
    fired = [event for event in events if event.facts.type == "join.fired"]
    assert [event.facts.node for event in fired] == ["j"]
    assert str(fired[0].facts.data["live"]).count(",") == width // 2 - 1
    agree(await marking(hands), fold(wide.ir, events), wide)


async def test_a_loop_that_tells_600_gates_does_so_in_chunks(hands: Hands) -> None:
    """Both going back and ending leave the rest of the gates to a cursor; every side path runs once, at the end."""
    count = 600
    body = (node("h"), node("l", "h", loop={"while": "loop.iteration < 2", "back_to": "h", "max_iterations": 9}))
    gates = plan(*body, *(node(f"z{at}", "h") for at in range(count)))
    await start(hands, gates)
    sizes = await work_off(hands, gates)
    assert max(sizes) <= EFFECTS_MAX + 2
    events = await hands.events(gates.node_ids, RUN)
    ran = [event.facts.node for event in events if event.facts.type == "step.succeeded"]
    assert sorted(ran) == sorted(["h", "h", "l", "l", *(f"z{at}" for at in range(count))])
    state = await marking(hands)
    assert (state.counter, state.joins) == (0, {})
    agree(state, fold(gates.ir, events), gates)


async def test_inputs_and_statuses_that_are_read_are_in_the_log(hands: Hands) -> None:
    """What recovery puts back into Redis it must find in the log."""
    reads = {"given": "steps.a.input", "state": "steps.s.status"}
    reader = node("c", "a", "s", join="all", input=reads)
    reading = plan(node("a", input={"x": "1 + 1"}), node("s", when="input == 5"), reader)
    await start(hands, reading)
    await work_off(hands, reading)
    state = await marking(hands)
    assert state.inputs == {(0, ()): b'{"x":2}'}
    assert state.statuses == {(1, ()): b"SUCCEEDED"}
    agree(state, fold(reading.ir, await hands.events(reading.node_ids, RUN)), reading)


async def test_a_run_that_fails_drains_what_is_parked(hands: Hands, redis: Redis) -> None:
    """Fifty steps wait for an hour when another fails: the run ends at once, with all timers gone."""
    waits = plan(node("a"), *(node(f"w{at}") for at in range(50)))
    await start(hands, waits)
    sizes = await work_off(hands, waits, lambda name: FAILED if name == "a" else PARKED)
    events = await hands.events(waits.node_ids, RUN)
    state = await marking(hands)
    assert (state.phase, state.reason, state.counter) == (RunPhase.DRAINING, "failed", 0)
    assert await redis.zcard(hands.at.timers) == 0
    assert await redis.xlen(hands.at.done) == 1
    assert [event.facts.type for event in events].count("run.swept") == 1
    assert len(sizes) >= 52
    agree(state, fold(waits.ir, events), waits)


async def test_a_sweep_of_120_000_parked_tokens_goes_in_chunks(hands: Hands, redis: Redis) -> None:
    """F68: no call takes away more than a thousand; the server is never stopped for long."""
    count = 120_000
    await start(hands, CHAIN)
    token = await take_one(hands)
    for first in range(0, count, 10_000):
        places = [f"1:{at}" for at in range(first, first + 10_000)]
        records = {f"t{place}": "7|t|0|9999999999999|n|default:normal|1|||" for place in places}
        await redis.hset(hands.at.run(RUN), mapping=records)
        await redis.zadd(hands.at.timers, {f"{RUN}|{place}|7": 9_999_999_999_999 for place in places})
    head = await head_of(redis, hands.at.run(RUN))
    await put_head(redis, hands.at.run(RUN), head._replace(counter=head.counter + count))
    await hands.advance([settle(token, CHAIN, lambda _: FAILED)])
    await hands.events(CHAIN.node_ids, RUN)
    longest, calls, taken = 0.0, 0, 0
    while tokens := (await hands.advance(want=1)).tokens:
        batch = [settle(tokens[0], CHAIN)]
        begun = time.perf_counter()
        await hands.advance(batch)
        longest = max(longest, time.perf_counter() - begun)
        swept = [event.facts.type for event in await hands.events(CHAIN.node_ids, RUN)]
        assert swept.count("token.withdrawn") <= CHUNK
        taken += swept.count("token.withdrawn")
        calls += 1
    assert taken == count
    assert await redis.zcard(hands.at.timers) == 0
    assert (await marking(hands)).counter == 0
    print(f"{calls} calls, the longest {longest * 1000:.1f} ms")


async def test_one_big_call_is_measured(hands: Hands) -> None:
    """64 chains' steps in one call; how long it took is printed, not judged."""
    many = plan(*(node(f"a{at}") for at in range(64)), *(node(f"b{at}", f"a{at}") for at in range(64)))
    await start(hands, many)
    tokens = (await hands.advance(want=64)).tokens
    batch = [settle(token, many) for token in tokens]
    begun = time.perf_counter()
    answer = await hands.advance(batch, want=64)
    spent = time.perf_counter() - begun
    assert answer.verdicts == "A" * 64
    assert len(answer.tokens) == 64
    print(f"64 transitions and 64 tokens in one call: {spent * 1000:.2f} ms")


def _found(token: list[bytes]) -> Found:
    fence = token[6].decode().split("|")[0]
    return Found(int(token[0]), token[1].decode(), RUN, token[3].decode(), fence)
