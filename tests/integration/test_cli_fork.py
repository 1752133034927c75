"""Forks at the command line."""

from __future__ import annotations

import pytest

from integration.cases import node, waits
from integration.stage import Stage, until
from integration.test_cli_dlq import Ask
from integration.test_cli_dlq import ask as ask  # noqa: PLC0414 - a fixture
from integration.test_dead_letters import Handlers, step

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
    assert dry == {"base_run_id": base, "base_seq": int(last), "impacted": ["s", "t"], "reused": ["a"]}
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
