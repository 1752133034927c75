"""Forks at the command line, and many runs that go on anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from courante.sdk.client import bulk
from courante.sdk.client.bulk import Selection
from courante.sdk.client.restarts import Restarted
from courante.sdk.errors import InputInvalid
from integration.cases import node, waits
from integration.stage import Stage, until
from integration.test_cli_dlq import Ask
from integration.test_dead_letters import Handlers, failed, step
from integration.test_forgetting import forget

pytestmark = pytest.mark.anyio


async def test_a_run_is_forked(stage: Stage, ask: Ask) -> None:
    """A dry run starts nothing; asked twice it is the same fork; in the middle of a transition it says where."""
    stage.supervisor()
    stage.worker(Handlers().steps())
    await stage.register(
        step("a"), waits("s", "a", name="go"), node("t", "s", type="transform", config={"expression": "input.n"}),
        output="steps.t.output",
    )  # fmt: skip
    base = await stage.client.submit("w", {"n": 1})
    types = await until(lambda: stage.types(base), lambda types: "timer.set" in types)
    last = str(types.index("timer.set") + 1)
    dry = await ask("fork", base, "--at", last, "--dry-run")
    assert dry == {
        "is_new": True, "base_run_id": base, "base_seq": int(last), "impacted": ["s", "t"], "reused": ["a"], "given": []
    }  # fmt: skip
    done = await ask("fork", base, "--at", last, "--input", "n=7", "--by", "ada")
    assert (done["is_new"], done["by"], done["base_seq"]) == (True, "ada", int(last))
    assert not (await ask("fork", base, "--at", last, "--input", "n=7"))["is_new"]
    await stage.client.signal(done["run_id"], "go")
    assert (await stage.result(done["run_id"])).output == 7
    assert (await ask("replay", done["run_id"], "--verify"))["ok"]
    said = await ask("fork", base, "--at", str(int(last) - 1), is_json=False)
    assert f"because event {int(last) - 1} is in the middle of a transition: s, t; 1 step taken over" in said.out
    error = (await ask("fork", base, "--at", "99", code=1))["error"]
    assert error["message"].endswith(f"has {last} events, and no event 99")
    assert (await ask("fork", "run_nobody", "--at", "1", code=3))["error"]["code"] == "run_not_found"
    await ask("fork", base, "--at", "0", code=64)


async def test_many_runs_are_retried(stage: Stage, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """By filters and never without; page by page, a line for each, and asked twice they are the same runs."""
    monkeypatch.setattr(bulk, "PAGE", 2)
    handlers = Handlers()
    stage.supervisor()
    stage.worker(handlers.steps())
    await stage.register(step("a"), step("b", "a", handler="breaks", max_retries=0))
    await stage.register(step("a", handler="breaks", max_retries=0), id="other")
    bases = [await failed(stage, "w", tags=["x"] if n else []) for n in range(5)]
    others = [await failed(stage, "other")]
    cancelled = await stage.client.submit("w", start_at=datetime.now(UTC) + timedelta(days=1))
    await stage.client.cancel(cancelled)
    assert (await stage.result(cancelled)).status == "CANCELLED"
    handlers.is_broken = False

    async def retried(wanted: Selection, **options: Any) -> dict[str, Restarted]:
        found = [outcome async for outcome in stage.client.bulk.retry(wanted, **options)]
        return {run_id: told for run_id, told in found if isinstance(told, Restarted)}

    planned = await retried(Selection(workflow="w"), dry_run=True)
    assert list(planned) == bases[::-1], "newest first"
    assert list(await retried(Selection(workflow="w", limit=3), dry_run=True)) == bases[:1:-1]
    assert set(await retried(Selection(tag="x"), dry_run=True)) == set(bases[1:])
    assert set(await retried(Selection(status="failed"), dry_run=True)) == {*bases, *others}
    assert list(await retried(Selection(status="CANCELLED"), dry_run=True)) == [cancelled]
    done = await retried(Selection(workflow="w"), by="ada")
    assert {told.run_id for told in done.values()} == {told.run_id for told in planned.values()}
    assert [(await stage.result(told.run_id)).status for told in done.values()] == ["COMPLETED"] * 5
    again = await retried(Selection(workflow="w"))
    assert [(told.run_id, told.is_new) for told in again.values()] == [(told.run_id, False) for told in done.values()]
    for wrong in (Selection(), Selection(limit=1), Selection(status="COMPLETED"), Selection(status="odd")):
        with pytest.raises(InputInvalid):
            await retried(wrong)
    said = await ask("retry", "--workflow", "other", "--since", "1h")
    assert said == {"dry_run": False, "runs": 1, "started": 1, "known": 0, "refused": 0}
    said = await ask("retry", "--status", "FAILED", is_json=False)
    lines = said.out.splitlines()
    assert lines[-1] == "6 runs: 0 go on anew, 6 did before, 0 refused"
    assert len(lines) == 7
    await stage.register(step("a"), id="other", input={"type": "object", "required": ["who"]})
    said = await ask("retry", "--workflow", "other", "--version", "latest", code=1, is_json=False)
    assert said.stable.splitlines()[1].strip() == "hint: start it anew: courante run other"
    await stage.register(step("a"), step("c", "a", max_retries=0), step("d", "c"))
    said = await ask("retry", bases[0], "--version", "latest", "--dry-run", is_json=False)
    assert said.stable.splitlines() == [
        "✓ RUN would be enacted again with version 2: c, d; 1 step taken over",
        "    new: c, d",
        "next: courante retry RUN --version latest",
    ]
    dry = await ask("retry", bases[0], "--version", "latest", "--dry-run")
    assert (dry["version"], dry["way"], dry["why"]) == (2, "reenacted", {"c": "new", "d": "new"})
    assert (await ask("retry", code=64))["error"]["message"] == "which run is not said"
    assert "say two things" in (await ask("retry", bases[0], "--workflow", "w", code=64))["error"]["message"]


async def test_outputs_are_given_at_the_command_line(stage: Stage, ask: Ask) -> None:
    stage.supervisor()
    stage.worker(Handlers().steps())
    await stage.register(step("a"), step("b", "a", handler="breaks", max_retries=0), output="steps.b.output")
    base = await failed(stage, "w")
    last = str(len(await stage.events(base)))
    done = await ask("fork", base, "--at", last, "--override", 'b={"n": 1}')
    assert (done["impacted"], done["reused"], done["given"]) == ([], ["a", "b"], ["b"])
    assert (await stage.result(done["run_id"])).output == {"n": 1}
    said = await ask("fork", base, "--at", last, "--override", "a=2", "--dry-run", is_json=False)
    assert ": b; 1 step taken over; given: a" in said.out
    error = (await ask("fork", base, "--at", last, "--override", "bb=2", code=3))["error"]
    assert (error["code"], error["hint"]) == ("step_not_found", "did you mean 'b'?")
    for wrong in ("b", "=2", "b={", "b=text"):
        assert (await ask("fork", base, "--at", last, "--override", wrong, code=64))["error"]["code"] == "bad_override"


async def test_many_runs_are_forked_and_rebuilt(stage: Stage, ask: Ask) -> None:
    """By the filters of a retry; a rebuild is of those that are complete, and what is refused of one stops no other."""
    handlers = Handlers()
    stage.supervisor()
    stage.worker(handlers.steps())
    nodes = (step("a"), step("b", "a", handler="breaks", max_retries=0))
    await stage.register(*nodes, output="steps.b.output", changes={"news": ["b"]})
    broken = [await failed(stage, "w") for _ in range(2)]
    handlers.is_broken = False
    whole = (await stage.run("w", tags=["x"])).run_id
    lost = (await stage.run("w", tags=["x"])).run_id
    await forget(stage, lost)
    mended = ["--status", "FAILED", "--since", "1h", "--at", "4", "--override", 'b={"n": 1}']
    dry = await ask("fork", *mended, "--dry-run")
    assert dry == {"dry_run": True, "runs": 2, "started": 2, "known": 0, "refused": 0}
    said = await ask("fork", *mended, is_json=False)
    assert said.out.count("; given: b") == 2, said.out
    found = [one async for one in stage.client.bulk.fork(Selection(status="FAILED"), 4, override={"b": {"n": 1}})]
    assert [one.run_id for one in found] == broken[::-1]
    for one in found:
        assert isinstance(one.told, Restarted)
        assert not one.told.is_new
        assert (await stage.result(one.told.run_id)).output == {"n": 1}
    assert (await ask("fork", "--workflow", "w", "--at", "99", code=1))["refused"] == 4 + len(found)
    asked = [outcome async for outcome in stage.client.bulk.rebuild(Selection(tag="x"), ["news"])]
    assert [(one.run_id, isinstance(one.told, Restarted)) for one in asked] == [(lost, False), (whole, True)]
    said = await ask("rebuild", "--tag", "x", "--change", "news", code=1, is_json=False)
    assert said.out.splitlines()[-1] == "3 runs: 0 go on anew, 2 did before, 1 refused", (
        "what was made is not made again"
    )
    twice = ["rerun", "--tag", "x", "--from", "b", "--limit", "1"]
    assert [(await ask(*twice))["started"] for _ in range(2)] == [1, 0]
    assert (await ask("fork", "--workflow", "w", "--at", "1", code=1))["started"] == 7
    assert (await ask("fork", "--workflow", "w", "--at", "1", code=1))["started"] == 0
    error = (await ask("rebuild", "--workflow", "w", "--status", "FAILED", "--change", "news", code=1))["error"]
    assert error["message"] == "status: runs that are FAILED are not rebuilt"
    for wrong in (("fork", "--at", "1"), ("fork", whole, "--tag", "x", "--at", "1"), ("rebuild", "--change", "news")):
        assert (await ask(*wrong, code=64))["error"]["code"] == "usage"
