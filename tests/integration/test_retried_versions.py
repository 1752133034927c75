"""A run that failed goes on with a mended version: what would be done as it was is taken over, the rest is executed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs
from redis.exceptions import RedisError

from courante.sdk.client import submitting
from courante.sdk.errors import InputInvalid, NotRestartable, WorkflowNotFound
from courante.sdk.stores.runs import get_run
from courante.sdk.user_errors import FatalError
from integration.bundles import exported
from integration.bundles import verified as bundled
from integration.cases import node
from integration.stage import Stage
from integration.test_bases_that_go import look_at_once
from integration.test_dead_letters import verified

if TYPE_CHECKING:
    from courante.sdk.client.client import RunResult
    from courante.sdk.client.restarts import Restarted

pytestmark = pytest.mark.anyio


class Hands:
    """Steps that give what they are given, and count it. ``failing``: those that fail, whatever they get."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.failing: set[str] = set()

    async def make(self, given: Any) -> Any:
        name = str(given["name"])
        self.done[name] += 1
        if name in self.failing or given.get("from") == "wrong":
            raise FatalError("it cannot be made")
        return given.get("from")

    def steps(self) -> dict[str, Any]:
        return {"make": self.make}


def step(id: str, *depends_on: str, given: str = "null", **more: Any) -> dict[str, Any]:
    """One that may be called only once with what it gets: any other call of it is counted."""
    input = {"name": f"'{id}'", "from": given}
    return node(id, *depends_on, type="function", config={"handler": "make"}, input=input, **more)


async def failed(stage: Stage, hands: Hands, workflow: str, *nodes: dict[str, Any], **fields: Any) -> str:
    """Play a run of a version that fails."""
    await stage.register(*nodes, id=workflow, **fields)
    run_id = await stage.client.submit(workflow, fields.pop("with_input", {"n": 1}))
    assert (await stage.result(run_id)).status == "FAILED"
    hands.done.clear()
    hands.failing.clear()
    return run_id


async def mended(stage: Stage, base: str, way: str, **why: str) -> tuple[Restarted, RunResult]:
    """Retry it with the newest version, for these reasons; what goes on is verified, and the same when asked again."""
    planned = await stage.client.retry(base, version="latest", dry_run=True)
    assert (planned.way, planned.why) == (way, why)
    done = await stage.client.retry(base, version="latest", by="ada")
    assert done == structs.replace(planned, by="ada")
    result = await stage.result(done.run_id)
    found = await verified(stage, done.run_id)
    assert found.ok, found
    for word in ("latest", "newest"):  # the second was the word before
        assert not (await stage.client.retry(base, version=word)).is_new
    return done, result


async def test_a_mended_document_does_the_rest(stage: Stage) -> None:
    """A mapping, a condition, a step, a loop, the items of a map, an output: each is mended in the middle of what was
    done, and only what depends on it is done again.
    """
    hands = Hands()
    stage.supervisor()
    stage.worker(hands.steps())

    def mapped(value: str) -> list[dict[str, Any]]:
        mapping = node("map", "a", type="transform", config={"mapping": {"v": f"'{value}'"}})
        last = step("f", "map", "t", given="steps.map.output.v")
        return [step("a"), step("s"), step("t", "s", given="steps.s.output"), mapping, last, step("z", "f")]

    base = await failed(stage, hands, "mapped", *mapped("wrong"))
    await stage.register(*mapped("right"), id="mapped")
    done, result = await mended(stage, base, "reenacted", map="changed", f="follows", z="follows")
    assert (result.status, hands.done, sorted(done.reused)) == ("COMPLETED", {"f": 1, "z": 1}, ["a", "s", "t"])
    async with stage.client.pool.acquire() as conn:
        row = await get_run(conn, done.run_id)
        assert (await bundled(await exported(conn, stage.place.env, [base, done.run_id]))).bad == []
    assert (row.version, done.version, row.base_run_id, row.trigger, row.by) == (2, 2, base, "retry", "ada")

    def routed(default: str) -> list[dict[str, Any]]:
        rules = [{"when": "output == 'never'", "next": ["bad", "good"]}]
        return [step("a", rules=rules, default=[default]), step("bad"), step("good"), step("z", "bad", "good")]

    hands.failing = {"bad"}
    base = await failed(stage, hands, "routed", *routed("bad"))
    await stage.register(*routed("good"), id="routed")
    done, result = await mended(stage, base, "reenacted", good="not_done", z="follows")
    assert (result.status, hands.done, done.reused) == ("COMPLETED", {"good": 1, "z": 1}, ("a",))

    hands.failing = {"b"}
    base = await failed(stage, hands, "shaped", step("a"), step("b", "a"), step("z", "b"))
    await stage.register(step("z", "a"), step("a"), id="shaped")
    done, result = await mended(stage, base, "reenacted", z="not_done")
    assert (result.status, hands.done, done.reused) == ("COMPLETED", {"z": 1}, ("a",))

    hands.failing = {"b"}
    shape = [step("a"), step("b", "a"), step("z", "b")]
    base = await failed(stage, hands, "same", *shape)
    await stage.register(*shape, step("y", "z"), id="same")
    done, result = await mended(stage, base, "migrated", b="failed", z="follows", y="new")
    assert (result.status, hands.done, done.reused) == ("COMPLETED", {"b": 1, "z": 1, "y": 1}, ("a",))

    base = await failed(stage, hands, "output", step("a"), output="steps.a.output.nothing")
    with pytest.raises(NotRestartable, match="its output could not be made"):
        await stage.client.retry(base)
    await stage.register(step("a"), id="output", output="input.n")
    done, result = await mended(stage, base, "reenacted")
    assert (result.status, result.output, hands.done, done.reused) == ("COMPLETED", 1, {}, ("a",))


async def test_loops_and_maps_go_on_where_they_stood(stage: Stage) -> None:
    """Iterations and items that are done stay; a joint that is changed behind them is made of them."""
    hands = Hands()
    stage.supervisor()
    stage.worker(hands.steps())

    def looped(most: int) -> list[dict[str, Any]]:
        loop = {"while": "loop.iteration < 5", "back_to": "in", "max_iterations": most}
        return [step("in"), step("turn", "in", given="{'name': 'in'}", loop=loop), step("z", "turn")]

    base = await failed(stage, hands, "looped", *looped(3))
    await stage.register(*looped(9), step("y", "z"), id="looped")
    _, result = await mended(stage, base, "migrated", **{"in": "follows", "turn": "failed", "z": "follows", "y": "new"})
    assert (result.status, hands.done) == ("COMPLETED", {"in": 2, "turn": 3, "z": 1, "y": 1})

    def items(window: int, *last: dict[str, Any], given: str = "item") -> list[dict[str, Any]]:
        over = node("m", type="map", config={"items": "[1, 2, 'wrong', 4]", "max_concurrency": window})
        body = [step("i", "m", given="item == 'wrong' ? 'right' : item"), step("j", "i", given=given)]
        return [over, *body, *last, node("all", last[-1]["id"] if last else "j", type="aggregate")]

    base = await failed(stage, hands, "items", *items(9), output="steps.all.output")
    more = step("k", "j", given="steps.j.output")
    await stage.register(*items(8, more, given="steps.i.output"), id="items", output="steps.all.output")
    _, result = await mended(stage, base, "reenacted", j="failed", k="new", all="follows")
    assert (result.status, result.output, hands.done) == ("COMPLETED", [1, 2, "right", 4], {"j": 1, "k": 4})


async def test_bases_of_bases_and_what_was_undone(stage: Stage) -> None:
    """Each time what is the same as in the version before is taken over; what was undone is done again."""
    hands = Hands()
    stage.supervisor()
    stage.worker(hands.steps())

    def line(mended: int, **first: Any) -> list[dict[str, Any]]:
        """Four steps, of which the ones from the first that is not mended on fail."""
        before = [[], ["a"], ["b"], ["c"]]
        texts = ["'fine'" if number < mended else "'wrong'" for number in range(4)]
        return [
            step(name, *before[number], given=texts[number], **(first if number == 0 else {}))
            for number, name in enumerate("abcd")
        ]

    base = await failed(stage, hands, "line", *line(1))
    for mended_to, name, rest in ((2, "b", "cd"), (3, "c", "d"), (4, "d", "")):
        await stage.register(*line(mended_to), step(f"x{mended_to}"), id="line")
        why = {name: "failed"} | dict.fromkeys(rest, "follows") | {f"x{mended_to}": "new"}
        done, result = await mended(stage, base, "reenacted", **why)
        base = done.run_id
    assert result.status == "COMPLETED"

    undoing = [*line(1, compensate="undo"), step("undo", given="'x'")]
    base = await failed(stage, hands, "undone", *undoing)
    with pytest.raises(NotRestartable, match="was undone"):
        await stage.client.retry(base)
    await stage.register(*line(4, compensate="undo"), step("undo", given="'x'"), id="undone")
    done, result = await mended(stage, base, "reenacted", a="undone", b="follows", c="follows", d="follows")
    assert (result.status, hands.done) == ("COMPLETED", {"a": 1, "b": 1, "c": 1, "d": 1})


async def test_what_a_version_cannot_stand_on_is_told(stage: Stage) -> None:
    hands = Hands()
    stage.supervisor()
    stage.worker(hands.steps())
    hands.failing = {"b"}
    base = await failed(stage, hands, "w", step("a"), step("b", "a"))
    schema = {"type": "object", "required": ["who"], "properties": {"who": {"type": "string"}}}
    await stage.register(step("a"), step("c", "a"), id="w", input=schema)
    with pytest.raises(InputInvalid, match=f"the input of {base} is none of version 2: .*who") as wrong:
        await stage.client.retry(base, version="latest")
    assert wrong.value.hint == "start it anew: courante run w"
    with pytest.raises(WorkflowNotFound):
        await stage.client.retry(base, version=9)
    with pytest.raises(InputInvalid, match="odd"):
        await stage.client.retry(base, version="odd")
    plain = await stage.client.retry(base, version=1)
    assert (plain.run_id, plain.way) == ((await stage.client.retry(base)).run_id, "resumed")
    assert plain.why == {"b": "failed"}


async def emptied(stage: Stage, run_id: str, *seqs: int) -> None:
    """Do what forgetting does to some events of a run."""
    async with stage.client.pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute("DELETE FROM event_payloads WHERE run_id = $1 AND seq = ANY($2::bigint[])", run_id, seqs)


async def test_what_is_not_stored_any_more_is_made_anew(stage: Stage) -> None:
    """Where it is needed; but for the input of the run, without which there is nothing to go on from."""
    hands = Hands()
    stage.supervisor()
    stage.worker(hands.steps())
    hands.failing = {"b"}
    base = await failed(stage, hands, "w", step("u"), step("a", "u", given="'x'"), step("b", "a"))
    await stage.register(step("u"), step("a", "u", given="'x'"), step("c", "a", given="steps.a.output"))
    outputs = {event.facts.node: event.seq for event in await stage.events(base) if event.payload is not None}
    await emptied(stage, base, outputs["a"])
    done, result = await mended(stage, base, "reenacted", a="emptied", c="new")
    assert (result.output, hands.done, done.reused) == ({"c": "x"}, {"a": 1, "c": 1}, ("u",))
    hands.failing = {"d"}
    long = f"[1, 2, 3, 4].map(i, '{'x' * 3_000}')"
    parts = [step("a", given=long), step("b", "a", given="size(steps.a.output)"), step("d", "b")]
    large = await failed(stage, hands, "large", *parts)
    parts[1] = step("b", "a", given="size(steps.a.output) + 0")
    await stage.register(*parts, id="large")
    async with stage.client.pool.acquire() as conn:
        await conn.execute("DELETE FROM payloads WHERE env = $1", stage.place.env)
    _, result = await mended(stage, large, "reenacted", a="emptied", b="follows", d="follows")
    assert (result.status, hands.done) == ("COMPLETED", {"a": 1, "b": 1, "d": 1})
    await emptied(stage, base, 1)
    with pytest.raises(NotRestartable, match=f"the input of {base} is not stored any more"):
        await stage.client.retry(base, version="latest")


async def test_whoever_applies_the_start_makes_the_same_of_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was accepted while Redis was away; the reconciler enacts the base again as who asked would have."""
    hands = Hands()
    look_at_once(monkeypatch, batch=1)
    stage.supervisor()
    stage.worker(hands.steps())
    hands.failing = {"b"}
    base = await failed(stage, hands, "w", step("a"), step("b", "a"))
    await stage.register(step("a"), step("c", "a"), id="w")
    planned = await stage.client.retry(base, version="latest", dry_run=True)

    async def away(*what: object, **more: object) -> None:
        raise RedisError("away")

    with monkeypatch.context() as patch:
        patch.setattr(submitting, "apply_all_starts", away)
        done = await stage.client.retry(base, version="latest")
    assert (done, done.is_new) == (planned, True)
    assert (await stage.result(done.run_id)).status == "COMPLETED"
    assert hands.done == {"c": 1}
    assert (await verified(stage, done.run_id)).ok
