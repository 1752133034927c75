"""Budgets of runs: what calls can take is reserved first, and no race, crash or rebuild spends it twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from courante.replay import verify_run
from courante.runner.models import calling
from courante.runner.models.answer import ModelAnswer
from courante.runner.models.echo import call_echo
from courante.runner.models.request import ModelRequest
from courante.runner.models.terms import ModelTerms
from courante.sdk.authoring.steps import Steps
from courante.sdk.spending.spent import told_spent, total
from courante.sdk.stores.spending import spending_of_runs
from integration.stage import Stage, until
from integration.wire import openai_answers
from integration.wire.server import Asked, Reply, open_wire

pytestmark = pytest.mark.anyio

TEXT = "four" * 100
ASK = {"provider": "echo", "model": "echo", "echo": TEXT, "max_tokens": 100}
TAKEN = 100 + 3
"""Tokens of a call: the answer, and the prompt of 8 to 12 bytes."""
NODES = (
    {"id": "each", "type": "map", "config": {"items": "input.items", "max_concurrency": 1000}},
    {
        "id": "ask",
        "type": "llm",
        "depends_on": "each",
        "config": {**ASK, "prompt": "number {{ item }}"},
    },
    {"id": "all", "type": "aggregate", "depends_on": "ask", "config": {"policy": "collect"}},
)
ITEMS = {"items": list(range(10, 210))}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[ModelRequest]:
    """The calls that reach the provider."""
    made: list[ModelRequest] = []

    async def counted(request: ModelRequest, on_partial: Callable[[str], None]) -> ModelAnswer:
        made.append(request)
        await anyio.lowlevel.checkpoint()
        return await call_echo(request, on_partial)

    monkeypatch.setattr(calling, "call_echo", counted)
    return made


async def tokens_spent(stage: Stage, run_id: str) -> int:
    async with stage.client.pool.acquire() as conn:
        return sum(each.tokens for each in (await spending_of_runs(conn, [run_id])).get(run_id, []))


async def counts(stage: Stage, run_id: str) -> Counter[str]:
    return Counter(await stage.types(run_id))


async def proven(stage: Stage, run_id: str) -> None:
    """The log says what the projections say, and each step of it follows from what is before."""
    async with stage.client.pool.acquire() as conn:
        verification = await verify_run(conn, stage.place.env, run_id)
    assert verification.ok, verification


async def test_calls_that_race_for_a_budget_do_not_overspend_it(stage: Stage, calls: list[ModelRequest]) -> None:
    """200 parallel calls under a budget for 50, on two workers: at most 50 are made, and nearly as many."""
    stage.supervisor()
    stage.worker(database_url=stage.place.database_url)
    stage.worker(database_url=stage.place.database_url)
    budget = {"tokens": 50 * TAKEN}
    await stage.register(*NODES, policy={"budget": budget}, output="outputs.all.filter(one, one == 'none')")
    done = await stage.run("w", ITEMS)
    assert (done.status, done.error) == ("COMPLETED", None)
    assert 45 <= len(calls) <= 50
    assert await tokens_spent(stage, done.run_id) == len(calls) * TAKEN <= 50 * TAKEN
    events = await stage.events(done.run_id)
    errors = Counter(event.facts.error.type for event in events if event.facts.error is not None)
    assert errors == {"BUDGET_EXHAUSTED": 200 - len(calls)}
    said = {event.facts.error.message for event in events if event.facts.error is not None}
    told = re.compile(r"the call may take 2\d\d tokens of the budget: so much is not left \(max_tokens .*\)")
    assert all(map(told.fullmatch, said))
    await proven(stage, done.run_id)


async def test_calls_over_http_that_race_for_money_do_not_overspend_it(stage: Stage) -> None:
    """200 parallel calls under a budget for 50: the provider is asked at most 50 times, by both workers together."""
    usage = {"prompt_tokens": 100, "completion_tokens": 100}
    cost = 0.00125  # of gpt-4o

    async def give(_asked: Asked, reply: Reply) -> None:
        await anyio.sleep(0.01)  # so that many are under way
        await reply.json(openai_answers.completion("Hi", usage=usage))

    async with open_wire(give) as server:
        models = ModelTerms(openai_url=f"{server.url}/v1")
        stage.supervisor()
        for _ in range(2):
            stage.worker(models=models, database_url=stage.place.database_url)
        each, ask, every = NODES
        ask = {**ask, "config": {"model": "gpt-4o", "prompt": "number {{ item }}", "max_tokens": 100}}
        budget = {"cost": 50 * cost, "currency": "USD"}
        await stage.register(each, ask, every, policy={"budget": budget}, output="outputs.all.filter(one, one == '')")
        done = await stage.run("w", ITEMS)
    assert (done.status, done.error) == ("COMPLETED", None)
    assert 45 <= len(server.asked) <= 50
    spent = total(told_spent(event.facts.data) for event in await stage.events(done.run_id))
    assert (spent.calls, spent.unknown, spent.cost) == (len(server.asked), 0, len(server.asked) * cost * 10**9)
    await proven(stage, done.run_id)


async def test_what_waits_for_a_budget_goes_on_when_it_is_raised(stage: Stage, calls: list[ModelRequest]) -> None:
    """Also after the server has forgotten everything; what was spent before is known then."""
    stage.supervisor()
    stage.worker(database_url=stage.place.database_url)
    await stage.register(*NODES, policy={"budget": {"tokens": 6 * TAKEN, "on_exhausted": "park"}})
    run_id = await stage.client.submit("w", {"items": list(range(10, 20))})
    # All five calls that it has room for: one that is not in the log yet is forgotten with the server, and made again.
    spent = await until(lambda: tokens_spent(stage, run_id), lambda tokens: tokens > 4 * TAKEN)
    await until(lambda: counts(stage, run_id), lambda types: types["step.waiting"] == 10)
    made = len(calls)
    assert made * TAKEN == spent or made <= 6
    await stage.redis.flushall()
    raised = await stage.client.raise_budget(run_id, tokens=20 * TAKEN, by="ada", reason="it is worth it")
    assert raised.state in ("applied", "accepted")
    done = await stage.result(run_id)
    assert (done.status, len(done.output["all"]), len(calls)) == ("COMPLETED", 10, 10)
    (command,) = [event.facts for event in await stage.events(run_id) if event.facts.type == "command.applied"]
    assert (command.data["type"], command.data["tokens"], command.data["by"]) == ("raise_budget", 20 * TAKEN, "ada")
    await proven(stage, run_id)


async def test_all_runs_of_a_workflow_share_its_budget(stage: Stage, calls: list[ModelRequest]) -> None:
    """Two runs at once stay within it together; it is known after the server has forgotten everything."""
    stage.supervisor()
    stage.worker(database_url=stage.place.database_url)
    stage.worker(database_url=stage.place.database_url)
    output = "outputs.all.filter(one, one == 'none')"
    await stage.register(*NODES, policy={"workflow_budget": {"tokens": 50 * TAKEN}}, output=output)
    runs = [await stage.client.submit("w", {"items": list(range(first, first + 80))}) for first in (10, 110)]
    done = await stage.results(runs)
    assert [one.status for one in done] == ["COMPLETED"] * 2
    assert 45 <= len(calls) <= 50
    for run_id in runs:
        await proven(stage, run_id)
    assert sum([await tokens_spent(stage, run_id) for run_id in runs]) <= 50 * TAKEN
    await stage.redis.flushall()
    made = len(calls)
    late = await stage.run("w", {"items": list(range(10, 20))})
    assert (late.status, len(calls) - made <= 1) == ("COMPLETED", True)
    keys = stage.client.keys.partition(0).base
    (fund,) = [key async for key in stage.redis.scan_iter(match=f"{keys}fund:*")]
    kept = await stage.redis.hgetall(fund)
    assert (int(kept[b"tokens"]), int(kept.get(b"held_tokens", 0))) == (len(calls) * TAKEN, 0)
    assert not [name for name in kept if name.startswith(b"hrun")]


async def test_runs_that_wait_for_the_budget_of_their_workflow_go_on(stage: Stage, calls: list[ModelRequest]) -> None:
    """What another run gives back goes to those that wait; raising it for one run lets that one go on."""
    stage.supervisor()
    stage.worker(database_url=stage.place.database_url)
    await stage.register(*NODES, policy={"workflow_budget": {"tokens": 6 * TAKEN, "on_exhausted": "park"}})
    runs = [await stage.client.submit("w", {"items": list(range(10, 18))}) for _ in range(2)]

    async def waiting() -> int:
        types = [await counts(stage, run_id) for run_id in runs]
        return sum(each["step.waiting"] for each in types)

    await until(waiting, lambda count: count == 16)
    await until(lambda: tokens_spent(stage, runs[0]), lambda tokens: tokens > 0 or len(calls) > 3)
    assert len(calls) <= 6
    for run_id in runs:
        await stage.client.raise_budget(run_id, tokens=30 * TAKEN)
    done = await stage.results(runs)
    assert [one.status for one in done] == ["COMPLETED"] * 2
    assert len(calls) == 16
    for run_id in runs:
        await proven(stage, run_id)


async def test_a_run_that_is_rebuilt_alone_reserves_nothing_twice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key is deleted while a call is under way: its workflow's account forgets that call."""
    begun, go = anyio.Event(), anyio.Event()

    async def held(request: ModelRequest, on_partial: Callable[[str], None]) -> ModelAnswer:
        begun.set()
        await go.wait()
        return await call_echo(request, on_partial)

    monkeypatch.setattr(calling, "call_echo", held)
    stage.supervisor(audit_s=0.1)
    stage.worker(database_url=stage.place.database_url)
    alone: dict[str, Any] = {**NODES[1], "depends_on": [], "config": {**ASK, "prompt": "number 1"}}
    await stage.register(alone, policy={"workflow_budget": {"tokens": 10_000}})
    run_id = await stage.client.submit("w")
    with anyio.fail_after(10):
        await begun.wait()
    await until(lambda: counts(stage, run_id), lambda types: types["budget.granted"] == 1)
    keys = stage.client.keys.partition(0)
    await stage.redis.delete(keys.run(run_id))
    await until(lambda: counts(stage, run_id), lambda types: types["run.rebuilt"] == 1)
    go.set()
    assert (await stage.result(run_id)).status == "COMPLETED"
    (fund,) = [key async for key in stage.redis.scan_iter(match=f"{keys.base}fund:*")]
    kept = await stage.redis.hgetall(fund)
    assert (int(kept[b"held_tokens"]), [name for name in kept if name.startswith(b"hrun")]) == (0, [])
    await proven(stage, run_id)


async def test_a_budget_of_money_needs_prices(stage: Stage, calls: list[ModelRequest]) -> None:
    """Without a price in its currency nothing is called; with one the sum stays within it."""
    stage.supervisor()
    stage.worker(database_url=stage.place.database_url)
    config = {"provider": "echo", "prompt": "p", "max_tokens": 9}
    node: dict[str, Any] = {**NODES[1], "depends_on": [], "config": config}
    await stage.register(node, policy={"budget": {"cost": 1, "currency": "EUR"}})
    refused = await stage.run("w")
    assert refused.error is not None
    assert (refused.error["type"], len(calls)) == ("BUDGET_UNPRICED", 0)
    await stage.register(node, policy={"budget": {"cost": 0.000001}}, id="poor")
    poor = await stage.run("poor")
    assert poor.error is not None
    assert (poor.error["type"], len(calls)) == ("BUDGET_EXHAUSTED", 0)
    await stage.register(node, policy={"budget": {"cost": 0.01}}, id="rich")
    assert (await stage.run("rich")).status == "COMPLETED"
    assert len(calls) == 1


def lose_first_call(monkeypatch: pytest.MonkeyPatch) -> tuple[anyio.Event, list[ModelRequest]]:
    """Let the first call of a model never end. Return what is set when it begins, and all calls that are made."""
    begun, made = anyio.Event(), list[ModelRequest]()

    async def call(request: ModelRequest, on_partial: Callable[[str], None]) -> ModelAnswer:
        made.append(request)
        if len(made) == 1:
            begun.set()
            await anyio.sleep_forever()
        return await call_echo(request, on_partial)

    monkeypatch.setattr(calling, "call_echo", call)
    return begun, made


async def test_a_call_that_is_lost_with_its_worker_stays_spent(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next worker tells it with the most that it can have taken, reserves anew, and the run goes on."""
    begun, made = lose_first_call(monkeypatch)
    stage.worker(database_url=stage.place.database_url, lease_ms=1_000)
    alone: dict[str, Any] = {**NODES[1], "depends_on": [], "config": {**ASK, "prompt": "number 1"}}
    await stage.register(alone, policy={"budget": {"tokens": 1_000}})
    run_id = await stage.client.submit("w")
    with anyio.fail_after(10):
        await begun.wait()
    await stage.kill(0)
    await stage.run_out(stage.workers[0])
    stage.worker(database_url=stage.place.database_url, lease_ms=1_000)
    stage.supervisor()
    done = await stage.result(run_id)
    assert done.status == "COMPLETED"
    events = await stage.events(run_id)
    told = [(event.facts.type, told_spent(event.facts.data)) for event in events]
    (lost,) = [spent for kind, spent in told if kind == "spending.recorded"]
    assert (lost.unknown, lost.calls) == (1, 1)
    assert lost.tokens > 100
    assert total(spent for _, spent in told).calls == len(made) == 2
    assert (await counts(stage, run_id))["budget.granted"] == 2
    await proven(stage, run_id)


async def test_each_turn_of_an_agent_asks_for_its_part(stage: Stage, calls: list[ModelRequest]) -> None:
    """What was said before is kept meanwhile; where the budget is at its end the agent fails, and nothing is called."""
    stage.supervisor()
    made = Steps()
    made.tools.add(search, "search")
    stage.worker(made)
    script: list[Any] = [{"tools": [{"name": "search", "arguments": {"query": "tea"}}]}, "Tea."]
    config = {"provider": "echo", "prompt": "Find tea.", "tools": ["search"], "echo": script, "max_tokens": 50}
    node = {"id": "a", "type": "agent", "config": config}
    for tokens, answer in ((20_000, "Tea."), (20, None)):
        await stage.register(node, policy={"budget": {"tokens": tokens}}, id=f"w{tokens}")
        done = await stage.run(f"w{tokens}")
        types = await counts(stage, done.run_id)
        if answer is None:
            assert done.error is not None
            assert (done.error["type"], types["budget.refused"], len(calls)) == ("BUDGET_EXHAUSTED", 1, 2)
        else:
            assert done.output["a"]["answer"] == answer
            assert (types["budget.granted"], types["spending.recorded"], len(calls)) == (2, 1, 2)
            events = await stage.events(done.run_id)
            assert total(told_spent(event.facts.data) for event in events).calls == 2
        await proven(stage, done.run_id)


def search(query: str) -> list[str]:
    """Look around."""
    return [query]


async def test_a_call_that_a_stopping_worker_breaks_off_is_spent(stage: Stage) -> None:
    """What was reserved for it is not there for the next worker too: it has to ask again."""
    begun = anyio.Event()

    async def give(_asked: Asked, reply: Reply) -> None:
        if begun.is_set():
            await reply.json(openai_answers.completion("Hi"))
        begun.set()
        await reply.until_gone()

    async with open_wire(give) as server:
        models = ModelTerms(openai_url=f"{server.url}/v1")
        stage.supervisor()
        first = stage.worker(models=models, stop_grace_ms=0)
        config = {"model": "gpt-4o", "max_tokens": 100, "prompt": "p"}
        node: dict[str, Any] = {**NODES[1], "depends_on": [], "config": config}
        await stage.register(node, policy={"budget": {"tokens": 300}})
        run_id = await stage.client.submit("w")
        with anyio.fail_after(10):
            await begun.wait()
        first.stop()
        stage.worker(models=models)
        done = await stage.result(run_id)
        assert done.error is not None
        assert (done.error["type"], len(server.asked)) == ("BUDGET_EXHAUSTED", 1)
    await proven(stage, run_id)


async def test_who_goes_away_from_the_row_keeps_nobody_behind_waiting(stage: Stage, calls: list[ModelRequest]) -> None:
    """A step that wants more than there is, is withdrawn: the next one, which wants less, is answered."""
    stage.supervisor()
    stage.worker(database_url=stage.place.database_url)
    large = {"id": "large", "type": "llm", "config": {**ASK, "prompt": "p", "max_tokens": 900}}
    go = {"id": "go", "type": "signal", "config": {"name": "go"}}
    small = {"id": "small", "type": "llm", "depends_on": "go", "config": {**ASK, "prompt": "p"}}
    await stage.register(large, go, small, policy={"budget": {"tokens": 500, "on_exhausted": "park"}})
    run_id = await stage.client.submit("w")
    await until(lambda: counts(stage, run_id), lambda types: types["step.waiting"] == 2)
    await stage.client.signal(run_id, "go")
    await until(lambda: counts(stage, run_id), lambda types: types["step.waiting"] == 3)
    assert not calls
    await stage.client.cancel_step(run_id, "large")
    done = await stage.result(run_id)
    assert (done.status, len(calls)) == ("COMPLETED", 1)
    await proven(stage, run_id)


async def test_the_lost_turn_of_an_agent_counts_with_what_was_reserved(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tools that the model was offered are part of what it has read."""
    begun, _ = lose_first_call(monkeypatch)
    steps = Steps()
    steps.tools.add(search, "search")
    stage.worker(steps, lease_ms=1_000)
    config = {"provider": "echo", "prompt": "Find tea.", "tools": ["search"], "echo": "Tea.", "max_tokens": 50}
    await stage.register({"id": "a", "type": "agent", "config": config}, policy={"budget": {"tokens": 20_000}})
    run_id = await stage.client.submit("w")
    with anyio.fail_after(10):
        await begun.wait()
    await stage.kill(0)
    await stage.run_out(stage.workers[0])
    stage.worker(steps, lease_ms=1_000)
    stage.supervisor()
    assert (await stage.result(run_id)).status == "COMPLETED"
    facts = [event.facts for event in await stage.events(run_id)]
    (lost,) = [told_spent(each.data) for each in facts if each.type == "spending.recorded"]
    reserved = [each.data["tokens"] for each in facts if each.type == "step.waiting"]
    assert (lost.unknown, lost.tokens) == (1, reserved[0])
