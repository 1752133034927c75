"""What if: past runs are routed again by another version of their workflow, and nothing is executed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from courante.api.reading.what_ifs import OtherVersion, ask_run
from courante.replay.what_if import OtherList, Place, Rerouted, WhatIf
from courante.sdk.authoring.context import Context
from courante.sdk.authoring.steps import FatalError, Steps
from courante.sdk.embedded import Servers
from integration.cases import node, says, waits
from integration.floor import Command, Done, Floor, compile_document, open_floor
from integration.test_replay_verify import unguarded
from model.reading.draw import HANDLER, LARGE, SMALL, accepted
from model.reading.graph import from_document
from model.reading.oracle import Seeded

pytestmark = pytest.mark.anyio
RUNS = 30
ORACLES: dict[str, Seeded] = {}
CALLS: list[str] = []


def answer(value: object, context: Context) -> dict[str, Any]:
    """What the step of that name and scope does, drawn beforehand."""
    del value
    CALLS.append(context.node)
    outcome = ORACLES[context.workflow].outcome(context.node, context.scope)
    if not outcome.ok:
        raise FatalError("drawn")
    return {"again": outcome.again, "r": list(outcome.rules), "e": outcome.edges}


def boom() -> None:
    raise FatalError("as it should")


@pytest.fixture(scope="module")
async def floor(embedded_servers: Servers) -> AsyncIterator[Floor]:
    steps = Steps()
    steps.add(answer, HANDLER)
    steps.add(boom, "boom")
    steps.add(lambda: {"size": 3, "text": "x" * 20_000}, "large")
    async with open_floor(embedded_servers, steps) as made:
        yield made


async def asked(floor: Floor, run_id: str, document: dict[str, Any], conn: Any = None) -> WhatIf:
    if conn is None:
        async with floor.client.pool.acquire() as own:
            return await asked(floor, run_id, document, own)
    return await ask_run(conn, floor.env, run_id, OtherVersion(compile_document(document)[1]))


def run_of(done: Done) -> str:
    return done.result.run_id


def priced(limit: int = 50, *more: dict[str, Any], **decide: Any) -> dict[str, Any]:
    rules = {"rules": [{"when": f"steps.price.output.total > {limit}", "next": ["big"]}], "default": ["small"]}
    nodes = [
        node("price", type="transform", config={"mapping": {"total": "input.n * 10"}}),
        node("decide", "price", type="conditional", config={**rules, **decide}),
        says("big"),
        says("small"),
        *more,
    ]
    return {"courante": 1, "id": "priced", "nodes": nodes}


async def test_by_its_own_version_every_run_is_routed_as_it_was(floor: Floor) -> None:
    """Branches, guards, loops, gates, joins, failures and drains: nothing differs, and nothing is called."""
    for seed in range(RUNS):
        document = {**accepted(seed, LARGE if seed % 4 == 0 else SMALL), "id": f"asked-{seed}"}
        graph = from_document(document)
        oracle = ORACLES[f"asked-{seed}"] = Seeded.varied(graph, seed)
        done = await floor.run(document, {"when": {name: oracle.when(name) for name in graph.nodes}})
        calls = len(CALLS)
        told = await asked(floor, run_of(done), document)
        assert told == WhatIf(run_id=run_of(done), version=1, verdict="same"), f"seed {seed}: {told}"
        assert len(CALLS) == calls


async def test_another_rule_is_told_with_what_comes_of_it(floor: Floor) -> None:
    done = await floor.run(priced(), {"n": 7})
    assert (await asked(floor, run_of(done), priced(60))).verdict == "same"
    told = await asked(floor, run_of(done), priced(80, node("after", "small")))
    assert told.verdict == "differs"
    assert told.decisions == [Rerouted(step="decide", scope="", before="big", after="small")]
    assert (told.executed, told.not_reached) == ([Place("small")], [Place("big")])
    assert (told.open, told.unchecked) == ([], [])


async def test_steps_that_are_new_gone_or_behind_what_is_not_known(floor: Floor) -> None:
    """Behind a step of which the log knows nothing, what ran then is open: it may run or not."""
    nodes = [says("a", value=1), says("b", "a"), says("c", "b")]
    document = {"courante": 1, "id": "moving", "nodes": nodes}
    done = await floor.run(document)
    told = await asked(floor, run_of(done), {**document, "nodes": [*nodes, node("d", "c")]})
    assert (told.verdict, told.executed, told.not_reached) == ("differs", [Place("d")], [])
    told = await asked(floor, run_of(done), {**document, "nodes": [nodes[0], says("x", "a"), says("c", "x")]})
    assert (told.executed, told.not_reached, told.open) == ([Place("x")], [Place("b")], [Place("c")])
    told = await asked(floor, run_of(done), {**document, "nodes": nodes[:2]})
    assert (told.verdict, told.not_reached) == ("differs", [Place("c")])


async def test_conditions_and_expressions_that_fail(floor: Floor) -> None:
    def guarded(when: str) -> dict[str, Any]:
        nodes = [says("a", value={"n": 1}), node("b", "a", when=when), node("c", "b")]
        return {"courante": 1, "id": "guarded", "nodes": nodes}

    ran = await floor.run(guarded("steps.a.output.n == 1"))
    skipped = await floor.run(guarded("steps.a.output.n == 2"))
    told = await asked(floor, run_of(ran), guarded("steps.a.output.n == 2"))
    assert told.decisions == [Rerouted(step="b", scope="", before="executed", after="skipped")]
    assert Place("b") in told.not_reached
    told = await asked(floor, run_of(skipped), guarded("steps.a.output.n == 1"))
    assert told.decisions == [Rerouted(step="b", scope="", before="skipped", after="executed")]
    assert told.executed == [Place("b")]
    free = {
        **guarded(""),
        "nodes": [{name: v for name, v in each.items() if name != "when"} for each in guarded("")["nodes"]],
    }
    told = await asked(floor, run_of(skipped), free)
    assert told.decisions == [Rerouted(step="b", scope="", before="skipped", after="executed")]
    told = await asked(floor, run_of(ran), guarded("steps.a.output.missing == 1"))
    assert told.decisions == [Rerouted(step="b", scope="", before="executed", after="fails")]


async def test_loops_and_maps(floor: Floor) -> None:
    """Scopes are as people read them."""

    def looped(until: int, *, items: str = "steps.seed.output") -> dict[str, Any]:
        again = {"while": f"output < {until}", "back_to": "count", "max_iterations": 9}
        nodes = [
            says("seed", value=[3, 8]),
            node("count", "seed", type="transform", config={"expression": "loop.iteration"}, loop=again),
            node("each", "seed", type="map", config={"items": items}),
            node("odd", "each", when=f"item > {until}"),
            node("all", "odd", type="aggregate"),
        ]
        return {"courante": 1, "id": "looped", "nodes": nodes}

    done = await floor.run(looped(4))
    assert (await asked(floor, run_of(done), looped(4))).verdict == "same"
    told = await asked(floor, run_of(done), looped(2))
    assert Rerouted(step="count", scope="count#2", before="loop back", after="loop ends") in told.decisions
    assert Rerouted(step="odd", scope="each[0]", before="skipped", after="executed") in told.decisions
    assert Place("odd", "each[0]") in told.executed
    assert [place for place in told.not_reached if place.step == "count"] == [
        Place("count", "count#3"),
        Place("count", "count#4"),
    ]


def over(items: str, *more: dict[str, Any], **config: Any) -> dict[str, Any]:
    nodes = [
        says("seed", value=[f"item {n} {'x' * 300}" for n in range(5)]),
        node("each", "seed", type="map", config={"items": items, **config}),
        node("odd", "each", when="!item.contains('1')"),
        node("all", "odd", type="aggregate"),
        says("z", "all"),
        *more,
    ]
    return {"courante": 1, "id": "listed", "nodes": nodes}


async def test_lists_of_maps_are_made_again(floor: Floor) -> None:
    """An item is the same where its value is; of others nothing is known, and what gathers them is open."""
    done = await floor.run(over("steps.seed.output"))
    told = await asked(floor, run_of(done), over("steps.seed.output.filter(x, true)"))
    assert told == WhatIf(run_id=run_of(done), version=1, verdict="same")
    told = await asked(floor, run_of(done), over("steps.seed.output.filter(x, !x.contains('item 0'))"))
    assert told.lists == [OtherList(step="each", scope="", before=5, after=4, new=0, gone=1)]
    assert (told.verdict, told.decisions, told.executed) == ("differs", [], [Place("all")])
    assert (told.not_reached, told.open) == ([Place("odd", "each[0]")], [Place("z")])
    told = await asked(floor, run_of(done), over("steps.seed.output + ['more']"))
    assert told.lists == [OtherList(step="each", scope="", before=5, after=6, new=1, gone=0)]
    assert (told.executed, told.not_reached, told.open) == ([Place("odd", "each[5]")], [], [Place("all"), Place("z")])
    told = await asked(floor, run_of(done), over("[steps.seed.output[4], steps.seed.output[1], 'item 1']"))
    assert told.lists == [OtherList(step="each", scope="", before=5, after=3, new=1, gone=3)]
    told = await asked(floor, run_of(done), over("steps.seed.output", batch_size=2))
    assert told.lists == [OtherList(step="each", scope="", before=5, after=3, new=3, gone=5)]
    told = await asked(floor, run_of(done), over("steps.seed.output[0]"))
    assert told.decisions == [Rerouted(step="each", scope="", before="executed", after="fails")]


async def test_an_aggregate_with_another_policy_is_executed_anew(floor: Floor) -> None:
    """What it would come to is not known: neither where it failed then, nor where it did not."""

    def mapped(n: int, **config: Any) -> dict[str, Any]:
        nodes = [
            node("each", type="map", config={"items": "[1, 2]"}),
            node("halve", "each", type="function", config={"handler": "boom"}, when=f"item > {n}"),
            node("all", "halve", type="aggregate", config=config),
            says("z", "all"),
        ]
        return {"courante": 1, "id": "gathered", "nodes": nodes}

    failed, done = await floor.run(mapped(1)), await floor.run(mapped(2))
    assert (failed.result.status, done.result.status) == ("FAILED", "COMPLETED")
    for run, n, behind in ((failed, 1, []), (done, 2, [Place("z")])):
        assert (await asked(floor, run_of(run), mapped(n))).verdict == "same"
        told = await asked(floor, run_of(run), mapped(n, policy="collect"))
        assert (told.verdict, told.executed, told.open) == ("differs", [Place("all")], behind)
        assert (told.decisions, told.not_reached) == ([], [])


async def test_items_that_were_added_by_signals_stand_behind_the_list_of_another_version(floor: Floor) -> None:
    more: Any = {"more": {"signal": "more", "expires": "1h"}}
    added = Command("signal", {"name": "more", "data": {"items": ["late"], "is_last": True}})
    done = await floor.run(over("steps.seed.output", **more), commands=[added])
    assert (await asked(floor, run_of(done), over("steps.seed.output", **more))).verdict == "same"
    told = await asked(floor, run_of(done), over("[steps.seed.output[0]]", **more))
    assert (told.lists, told.waits) == ([OtherList(step="each", scope="", before=6, after=2, new=0, gone=4)], [])
    told = await asked(floor, run_of(done), over("steps.seed.output", more={"signal": "items"}))
    assert [(wait.what, wait.before, wait.after) for wait in told.waits] == [
        ("more.expires", "1h", None),
        ("more.signal", "more", "items"),
    ]


async def test_approvals_and_signals_are_compared_and_decisions_stand(floor: Floor) -> None:
    """What is decided on what they brought is decided again."""

    def waiting(limit: int, name: str = "x", **approval: Any) -> dict[str, Any]:
        rules = [{"when": f"output.n > {limit}", "next": ["big"]}]
        nodes = [
            node("w", type="signal", config={"name": name}, rules=rules, default=["small"]),
            says("big", requires_approval={"expires": "2h", **approval}),
            says("small"),
            node("never", "small", type="signal", config={"name": name}),
        ]
        return {"courante": 1, "id": "waits", "nodes": nodes}

    commands = [Command("signal", {"name": "x", "data": {"n": 5}}), Command("approve", {"step": "big"})]
    done = await floor.run(waiting(3), commands=commands)
    assert (await asked(floor, run_of(done), waiting(4))).verdict == "same"
    told = await asked(floor, run_of(done), waiting(9))
    assert told.decisions == [Rerouted(step="w", scope="", before="big", after="small")]
    form = {"type": "object", "properties": {"why": {"type": "string"}}}
    told = await asked(floor, run_of(done), waiting(3, "y", expires="1h", form=form))
    assert (told.verdict, told.decisions, told.executed) == ("differs", [], [])
    assert {(wait.step, wait.what): (wait.before, wait.after) for wait in told.waits} == {
        ("w", "signal.names"): (("x",), ("y",)),
        ("big", "approval.expires_ms"): (7_200_000, 3_600_000),
        ("big", "approval.form"): (None, form),
    }


async def test_a_run_that_failed_or_still_waits_stands_where_it_stood(floor: Floor) -> None:
    failing = [
        says("a"),
        node("b", "a", type="function", config={"handler": "boom"}),
        waits("w", "a", name="x"),
        says("c", "w"),
    ]
    document = {"courante": 1, "id": "failing", "nodes": failing}
    done = await floor.run(document)
    assert done.result.status == "FAILED"
    assert (await asked(floor, run_of(done), document)).verdict == "same"
    waiting = {"courante": 1, "id": "waiting", "nodes": [waits("w", name="x"), says("c", "w")]}
    run_id, _ = await floor.begin(waiting, until="step.waiting")
    assert (await asked(floor, run_id, waiting)).verdict == "same"
    signalled = await floor.run(waiting, commands=[Command("signal", {"name": "x", "data": 1})])
    assert (await asked(floor, run_of(signalled), waiting)).verdict == "same"


async def test_large_values_are_brought_and_emptied_ones_are_said(floor: Floor) -> None:
    """Where a decision needs what is gone, nothing is guessed."""

    def sized(limit: int) -> dict[str, Any]:
        nodes = [
            node("a", type="function", config={"handler": "large"}),
            node("b", "a", when=f"steps.a.output.size > {limit}"),
            node("c", "a", when=f"input.n > {limit}"),
        ]
        return {"courante": 1, "id": "sized", "nodes": nodes}

    done = await floor.run(sized(1), {"n": 5})
    told = await asked(floor, run_of(done), sized(4))
    assert told.decisions == [Rerouted(step="b", scope="", before="executed", after="skipped")]
    async with unguarded(floor) as conn:
        await conn.execute("DELETE FROM payloads WHERE env = $1", floor.env)
        told = await asked(floor, run_of(done), sized(4), conn)
        assert (told.verdict, "not stored any more" in told.error) == ("unknown", True)
        await conn.execute("DELETE FROM event_payloads WHERE run_id = $1", run_of(done))
        told = await asked(floor, run_of(done), sized(4), conn)
        assert (told.verdict, told.decisions) == ("unknown", [])
        assert told.unchecked == [Place("b"), Place("c")]
