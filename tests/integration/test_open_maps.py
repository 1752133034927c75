"""A run in which nothing lives is complete only where no map is open either: what is left open says that it is corrupt.

Somebody takes a token away behind the scripts' back, on a real Redis and on the floor in memory.
"""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest
from redis.asyncio import Redis

from courante.runner.nodes import INLINE
from courante.runner.settling import Settler
from courante.runner.transition import Transition
from courante.runner.work import read_token
from courante.sdk.corrupt import Corrupt
from courante.sdk.floor.live_marking import read_marking
from courante.sdk.floor.repairs import audit_runs
from courante.sdk.floor.scripts import Applied, apply_commands
from courante.sdk.floor.starting import apply_starts
from courante.sdk.fold.fold import fold
from courante.sdk.keys import Keys
from courante.sdk.marking.marking import RunPhase
from courante.sdk.marking.plan import Plan
from courante.sdk.outcomes.node_code import compile_node
from courante.sdk.outcomes.outcomes import Succeeded, failed
from courante.sdk.stores.commands import StartCommand
from courante.sdk.user_errors import FatalError
from courante.testing.commands import start_words
from courante.testing.floor import MemoryFloor
from integration.cases import node
from integration.heads import head_of, put_head
from integration.stage import Stage, until
from model.compiled import plan_of
from model.hands import CONSUMER, Hands

pytestmark = pytest.mark.anyio
RUN = "r1"
NODES = [
    node("m", type="map", config={"items": "[1, 2]"}),
    node("w", "m"),
    node("all", "w", type="aggregate"),
]
PLAN = plan_of({"courante": 1, "id": "t", "nodes": NODES})
LOST = "1:1"
"""The token of the second item."""
MANY = 101
"""Items of more than one chunk of results."""
NESTED = plan_of(
    {
        "courante": 1,
        "id": "t",
        "policy": {"on_failure": "continue"},
        "nodes": [
            node("m", type="map", config={"items": "[1, 2]"}),
            node("b", "m"),
            node("k", "m", type="map", config={"items": "[1, 2]"}),
            node("w", "k"),
            node("g", "w", type="aggregate"),
            node("all", "b", "g", type="aggregate", config={"policy": "fail_fast"}),
        ],
    }
)
"""A map in a map that the first failure closes."""


@pytest.fixture
async def hands(redis: Redis, env_name: str) -> Hands:
    made = Hands(redis, Keys(env_name))
    await made.open()
    return made


def start_of(env: str) -> StartCommand:
    return StartCommand(env=env, run_id=RUN, partition=0, workflow="t", version=1, ir_hash=PLAN.hash, input=b"{}")


def settled(token: list[bytes], plan: Plan = PLAN, *, fails: bool = False) -> Transition:
    work, settler = read_token(token, plan), Settler(CONSUMER)
    engines = settler.settle_engine_token(work)
    if engines is not None:
        return engines
    work.code = compile_node(plan.ir, work.node)
    if fails:
        return settler.settle(work, failed(FatalError("no"), work.node.id, work.attempt, CONSUMER))
    outcome: Any = INLINE["map"](work) if work.node.type == "map" else Succeeded(b"1")
    return settler.settle(work, outcome)


async def taken(hands: Hands) -> dict[str, list[bytes]]:
    """Take all tokens that are there, by their keys."""
    return {token[3].decode(): token for token in (await hands.advance(want=100)).tokens}


async def opened(hands: Hands, plan: Plan = PLAN) -> dict[str, list[bytes]]:
    """Start the run, and let its map open; return the tokens of its items."""
    command = msgspec.structs.replace(start_of(hands.keys.env), ir_hash=plan.hash)
    await apply_starts(hands.redis, hands.keys, hands.at, [(command, plan)], outbox_hard_max=100_000)
    await hands.advance([settled(token, plan) for token in (await taken(hands)).values()])
    return await taken(hands)


async def test_an_open_map_is_counted_until_its_aggregate_has_its_token(redis: Redis, hands: Hands) -> None:
    items = await opened(hands)
    assert (await head_of(redis, hands.at.run(RUN))).unfinished == 1
    assert (await audit_runs(redis, hands.at, [RUN])).halted == []
    await hands.advance([settled(token) for token in items.values()])
    assert (await head_of(redis, hands.at.run(RUN))).unfinished == 0
    marking = await read_marking(redis, hands.at, RUN)
    assert marking is not None
    assert (marking.maps, list(marking.tokens)) == ({}, [(2, ())])


@pytest.mark.parametrize("is_paused", [False, True], ids=["running", "paused"])
async def test_a_run_whose_map_is_left_open_is_halted(redis: Redis, hands: Hands, is_paused: bool) -> None:
    """F58: it neither completes nor waits for ever: the last transition says that it is corrupt."""
    items, key = await opened(hands), hands.at.run(RUN)
    assert await redis.hdel(key, f"t{LOST}") == 1
    await put_head(redis, key, (await head_of(redis, key))._replace(counter=1))
    if is_paused:
        assert await apply_commands(redis, hands.at, [Applied(RUN, 2, "pause")]) == "A"
    assert (await hands.advance([settled(items["1:0"])])).verdicts == "A"
    assert (await head_of(redis, key)).phase is RunPhase.HALTED
    last = (await hands.events(PLAN.node_ids, RUN))[-1].facts
    assert (last.type, last.reason, last.data) == ("run.halted", "corrupt", {"unfinished": 1})
    assert await redis.xlen(hands.at.done) == 0


@pytest.mark.parametrize("is_paused", [False, True], ids=["running", "paused"])
def test_the_floor_in_memory_halts_it_as_well(is_paused: bool) -> None:
    floor = MemoryFloor(PLAN, RUN)
    assert floor.start(start_words(PLAN, RUN, b"{}"))
    (token,) = floor.take(1)
    assert floor.hand_in(settled(token)) == "A"
    items = {token[3].decode(): token for token in floor.take(2)}
    floor.run.take((1, (1,)))
    if is_paused:
        assert floor.command(Applied(RUN, 2, "pause")) == "A"
    assert floor.hand_in(settled(items["1:0"])) == "A"
    assert floor.marking().phase is RunPhase.HALTED
    assert floor.zeros() == 0
    assert floor.events()[-1].facts.data == {"unfinished": 1}


async def test_a_map_that_is_open_below_a_closed_one_goes_with_it(redis: Redis, hands: Hands) -> None:
    """The sweep says so in the log; then nothing of the run is unfinished, and it may end."""
    tokens, plan = await opened(hands, NESTED), NESTED
    inner, failing = (f"{plan.numbers['k']}:1", f"{plan.numbers['b']}:0")
    await hands.advance([settled(tokens[inner], plan)])
    assert (await head_of(redis, hands.at.run(RUN))).unfinished == 2
    await hands.advance([settled(tokens[failing], plan, fails=True)])
    sweeper = f"{plan.numbers['sweep:m']}"
    await hands.advance([settled((await taken(hands))[sweeper], plan)])
    assert (await head_of(redis, hands.at.run(RUN))).unfinished == 0
    assert await redis.hexists(hands.at.run(RUN), f"n{inner}") == 0
    assert await redis.hexists(hands.at.run(RUN), f"N{inner}") == 0
    events = await hands.events(plan.node_ids, RUN)
    dropped = [(event.facts.node, event.facts.scope) for event in events if event.facts.type == "fanout.dropped"]
    assert dropped == [("k", "1")]
    live = await read_marking(redis, hands.at, RUN)
    assert live is not None
    assert live.maps == fold(plan.ir, events).maps
    silent = [event for event in events if event.facts.type != "fanout.dropped"]
    again = [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(silent, start=1)]
    with pytest.raises(Corrupt, match="below the closed one is open"):
        fold(plan.ir, again)


async def test_the_sweep_of_a_closed_map_goes_when_the_run_drains(redis: Redis, hands: Hands) -> None:
    """Taken before the run was cancelled, handed in behind it: it sweeps nothing, and the log says that it has gone."""
    tokens, plan = await opened(hands, NESTED), NESTED
    await hands.advance([settled(tokens[f"{plan.numbers['b']}:0"], plan, fails=True)])
    sweeper = (await taken(hands))[f"{plan.numbers['sweep:m']}"]
    assert await apply_commands(redis, hands.at, [Applied(RUN, 2, "cancel", reason="cancelled")]) == "A"
    assert (await hands.advance([settled(sweeper, plan)])).verdicts == "A"
    events = await hands.events(plan.node_ids, RUN)
    assert (events[-1].facts.type, events[-1].facts.node) == ("token.dropped", "sweep:m")
    live = await read_marking(redis, hands.at, RUN)
    assert live is not None
    assert set(live.tokens) == set(fold(plan.ir, events).tokens)


async def test_the_results_of_a_closed_map_are_not_collected(redis: Redis, hands: Hands) -> None:
    """Its collector was called for a chunk that was full, and is delivered when a later item has failed."""
    nodes = [
        node("m", type="map", config={"items": f"{list(range(MANY))}"}),
        node("w", "m"),
        node("all", "w", type="aggregate", config={"policy": "fail_fast"}),
    ]
    plan = plan_of({"courante": 1, "id": "t", "nodes": nodes, "policy": {"on_failure": "continue"}})
    items = await opened(hands, plan)
    while cursor := items.pop(f"{plan.numbers['fill:m']}", None):
        await hands.advance([settled(cursor, plan)])
        items |= await taken(hands)
    made = [settled(items[f"1:{index}"], plan, fails=index == MANY - 1) for index in range(MANY)]
    assert set((await hands.advance(made)).verdicts) == {"A"}
    (collector,) = [token for key, token in (await taken(hands)).items() if key == f"{plan.numbers['results:m']}"]
    assert read_token(collector, plan).is_below_closed_map
    assert (await hands.advance([Settler(CONSUMER).drop(read_token(collector, plan))])).verdicts == "A"
    events = await hands.events(plan.node_ids, RUN)
    assert (events[-1].facts.type, events[-1].facts.node, events[-1].facts.reason) == (
        "token.dropped", "results:m", "map_closed",
    )  # fmt: skip


async def test_a_token_below_a_closed_map_that_is_dropped_when_the_run_drains(redis: Redis, hands: Hands) -> None:
    """Its worker has heard of the map, and not of the run: the log says that it has gone, all the same."""
    tokens, plan = await opened(hands, NESTED), NESTED
    other = tokens[f"{plan.numbers['b']}:1"]
    await hands.advance([settled(tokens[f"{plan.numbers['b']}:0"], plan, fails=True)])
    assert await apply_commands(redis, hands.at, [Applied(RUN, 2, "cancel", reason="cancelled")]) == "A"
    assert (await hands.advance([Settler(CONSUMER).drop(read_token(other, plan))])).verdicts == "A"
    events = await hands.events(plan.node_ids, RUN)
    assert (events[-1].facts.type, events[-1].facts.node, events[-1].facts.scope) == ("token.dropped", "b", "1")


@pytest.mark.parametrize("change", ["gone", "closed"])
async def test_an_audit_finds_a_map_that_is_not_counted_right(redis: Redis, hands: Hands, change: str) -> None:
    """Its record is gone, or says that the map was closed, and the head still counts it."""
    await opened(hands)
    key = hands.at.run(RUN)
    if change == "gone":
        await redis.hdel(key, "n0")
    else:
        await redis.hset(key, "n0", "x")
    assert (await audit_runs(redis, hands.at, [RUN])).halted == [RUN]


async def test_a_run_that_older_scripts_have_begun_is_rebuilt_and_ends(stage: Stage) -> None:
    """Their heads count no open maps. Whoever meets the difference halts the run, and the log has it right."""
    gate = anyio.Event()

    async def held(given: dict[str, int]) -> int:
        await gate.wait()
        return given["n"] + 1

    stage.worker({"held": held})
    stage.supervisor(audit_s=0.1)
    await stage.register(
        node("m", type="map", config={"items": "[1, 2]"}),
        node("w", "m", type="function", config={"handler": "held"}, input={"n": "item"}),
        node("all", "w", type="aggregate"),
        output="steps.all.output",
    )
    run_id = await stage.client.submit("w")
    key = stage.client.keys.partition(0).run(run_id)
    await until(lambda: stage.redis.hexists(key, "n0"), bool)
    await put_head(stage.redis, key, (await head_of(stage.redis, key))._replace(unfinished=0))
    await until(lambda: stage.types(run_id), lambda types: "run.rebuilt" in types)
    gate.set()
    assert (await stage.result(run_id)).output == [2, 3]
    assert "fanout.completed" in await stage.types(run_id)
