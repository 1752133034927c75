"""What people ask of runs at the command line: decisions, signals, cancels, pauses; no supervisor needs to live."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import anyio.to_thread
import pytest

from command_line import Said, clean_environ, spawn
from courante import Context, Deferred
from courante.cli.texts import iso
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from courante.sdk.stores.runs import list_steps
from integration.cases import node, says, waits
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
Courante = Callable[..., Any]


@pytest.fixture
async def courante(stage: Stage, redis_url: str, migrated_database: str, tmp_path: Path) -> Courante:
    """Call a command in the stage's environment; with ``code`` its exit code is checked, and its object returned."""
    environ = {
        "COURANTE_REDIS_URL": redis_url,
        "COURANTE_DATABASE_URL": migrated_database,
        "COURANTE_ENV": stage.place.env,
    }

    async def call(*argv: str, code: int = 0, is_json: bool = True) -> Any:
        words = [*argv, "--json"] if is_json else list(argv)
        said: Said = await anyio.to_thread.run_sync(partial(spawn, *words, cwd=tmp_path, environ=environ))
        assert said.code == code, said
        return said.json if is_json else said

    return call


async def waiting(stage: Stage, run_id: str, *steps: str) -> None:
    async def found() -> set[str]:
        async with stage.client.pool.acquire() as conn:
            return {row.node for row in await list_steps(conn, run_id) if row.status == "WAITING"}

    await until(found, lambda nodes: nodes >= set(steps))


async def test_a_decision(stage: Stage, courante: Courante) -> None:
    """F65: who asks is listed and shown; the first decision stands, and the next is told of it."""
    stage.supervisor()
    stage.worker()
    await stage.register(
        node("review", type="approval", config={"expires": "2h", "separate_approver": True}),
        says("ship", "review"),
        node("pack", requires_approval=True),
    )
    run_id = await stage.client.submit("w", by="eve")
    await waiting(stage, run_id, "review", "pack")
    found = (await courante("approvals", "--workflow", "w"))["approvals"]
    assert {each["step"] for each in found} == {"review", "pack"}
    fields = {"run_id", "workflow", "step", "scope", "since", "expires_at", "escalated_at", "escalated_to", "form"}
    assert set(found[0]) == fields | {"separate_approver"}
    listed: Said = await courante("approvals", is_json=False)
    rows = {line.split()[2]: line for line in listed.out.splitlines()[1:3]}
    assert "anybody but who has started the run" in rows["review"]
    assert rows["pack"].rstrip().endswith("anybody")
    unclear = (await courante("approve", run_id, code=64))["error"]
    assert unclear["message"] == "2 steps wait for a decision: pack, review"
    done = await courante("approve", run_id, "review", "--comment", "go", "--by", "ada")
    assert {name: done[name] for name in ("run_id", "step", "decision", "by", "state")} == {
        "run_id": run_id, "step": "review", "decision": "approve", "by": "ada", "state": "applied",
    }  # fmt: skip
    error = (await courante("reject", run_id, "review", code=1))["error"]
    assert error["code"] == "already_decided"
    assert "review was approved by ada at 20" in error["message"]
    await until(lambda: stage.succeeded(run_id), lambda names: "ship" in names)
    shown: Said = await courante("status", run_id, is_json=False)
    assert "decision: pack: asked " in shown.out
    assert shown.stable.splitlines()[-1] == "next: courante approve RUN"
    said: Said = await courante("reject", run_id, "--reason", "too dear", "--by", "bob", is_json=False)
    assert said.stable == "✓ pack of RUN is rejected by bob\nnext: courante status RUN\n"
    result = await stage.result(run_id)
    assert result.error is not None
    assert result.error["message"] == "rejected by bob: too dear"
    assert (await courante("approvals"))["approvals"] == []
    assert (await courante("approve", "run_nobody", code=3))["error"]["code"] == "run_not_found"


async def test_a_run_that_waits_for_its_budget_leads_to_who_can_raise_it(stage: Stage, courante: Courante) -> None:
    """By the command that does so; what is added makes it go on."""
    stage.supervisor()
    stage.worker()
    ask = node("ask", type="llm", config={"provider": "echo", "prompt": "p", "max_tokens": 50})
    await stage.register(ask, policy={"budget": {"tokens": 10, "on_exhausted": "park"}})
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, "ask")
    shown: Said = await courante("status", run_id, is_json=False)
    assert shown.stable.splitlines()[-1] == "next: courante budget RUN --add-tokens N, or --add-cost AMOUNT"
    assert (await courante("budget", run_id, code=64))["error"]["message"] == "nothing is added"
    done = await courante("budget", run_id, "--add-tokens", "500", "--by", "ada")
    assert (done["run_id"], done["tokens"], done["state"]) == (run_id, 500, "applied")
    assert (await stage.result(run_id)).status == "COMPLETED"


Typed: TypeAlias = Callable[..., Awaitable[subprocess.CompletedProcess[str]]]


@pytest.fixture
def at_a_terminal(stage: Stage, redis_url: str, migrated_database: str, tmp_path: Path) -> Typed:
    """Run a command where somebody types."""
    place = {"REDIS_URL": redis_url, "DATABASE_URL": migrated_database, "ENV": stage.place.env}

    async def run(*words: str, types: str = "") -> subprocess.CompletedProcess[str]:
        ours, theirs = pty.openpty()

        def call() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "courante", *words],
                cwd=tmp_path,
                env=clean_environ() | {f"COURANTE_{name}": value for name, value in place.items()},
                stdin=theirs,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        os.write(ours, types.encode())
        done = await anyio.to_thread.run_sync(call)
        os.close(ours)
        os.close(theirs)
        return done

    return run


@pytest.mark.parametrize("decision", ["approve", "reject"])
async def test_nobody_is_asked_about_a_run_that_is_not_there(at_a_terminal: Typed, decision: str) -> None:
    """At a terminal, where a decision is asked back otherwise."""
    done = await at_a_terminal(decision, "run_nobody")
    assert (done.returncode, "there is no run run_nobody" in done.stderr) == (3, True), done
    assert "[y/N]" not in done.stdout + done.stderr


async def test_who_decides_sees_what_about(stage: Stage, at_a_terminal: Typed) -> None:
    """At a terminal: what the step was given, and what its form asks for. A no changes nothing."""
    stage.supervisor()
    stage.worker()
    form = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    order = node("order", type="echo", config={"value": {"sum": 900}})
    await stage.register(order, node("ask", "order", type="approval", config={"form": form}))
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, "ask")
    done = await at_a_terminal("approve", run_id, types="n\n")
    assert (done.returncode, done.stdout) == (4, ""), done
    told = done.stderr.splitlines()
    assert told[:5] == ["w: ask", "{", '  "sum": 900', "}", "--data asks for: ok"]
    assert told[5].startswith(f"approve ask of {run_id}, asked ")
    await waiting(stage, run_id, "ask")


async def test_who_cannot_see_what_about_may_decide(
    stage: Stage, at_a_terminal: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a terminal without the key ring: it is said why, and asked all the same."""
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"k": bytes(range(64))}))
    stage.supervisor()
    stage.worker()
    await stage.register(node("order", type="echo", config={"value": 900}), node("ask", "order", type="approval"))
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, "ask")
    done = await at_a_terminal("approve", run_id, types="n\n")
    assert (done.returncode, done.stdout) == (4, ""), done
    told = done.stderr.splitlines()
    assert told[0] == "w: ask"
    assert told[1].startswith("its input cannot be shown: ")
    assert told[2].startswith(f"approve ask of {run_id}, asked ")


async def test_what_waits_is_shown_and_ended(stage: Stage, courante: Courante) -> None:
    """Status says what each step waits for; a signal, a token and an operator let them go on."""
    tokens: list[str] = []

    def give(_value: object, context: Context) -> Deferred:
        deferred = context.defer()
        tokens.append(deferred.token)
        return deferred

    stage.supervisor()
    stage.worker({"give": give})
    handed: dict[str, Any] = {"type": "function", "config": {"handler": "give"}}
    await stage.register(
        waits("a", name="go"), waits("b", name="x"), waits("c", name="x"), waits("d", name="x"),
        node("e", **handed), node("f", max_retries=0, on_error="g", **handed), says("g"),
    )  # fmt: skip
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, *"abcdef")
    async with stage.client.pool.acquire() as conn:
        (due,) = [iso(row.due_at) for row in await list_steps(conn, run_id) if row.node == "a"]
    shown = {step["id"]: step["waiting_for"] for step in (await courante("status", run_id))["steps"]}
    assert (shown["a"], shown["g"]) == (f"signal go until {due}", None)
    assert {shown["e"], shown["f"]} == {f"outside {token}" for token in tokens}
    assert [run["run_id"] for run in (await courante("runs", "--status", "waiting"))["runs"]] == [run_id]
    error = (await courante("signal", run_id, "no", code=1))["error"]
    assert error["message"] == "no step of 'w' waits for a signal 'no'"
    assert error["hint"] == "it waits for: go, x"
    assert (await courante("signal", run_id, "go", "--data", "go", code=64))["error"]["code"] == "bad_data"
    assert (await courante("signal", run_id, "go", "--data", '{"n": 1}'))["name"] == "go"
    assert (await courante("force", run_id, "b", "succeed", "--data", "7", "--reason", "by hand"))["end"] == "succeed"
    assert (await courante("force", run_id, "c", "skip"))["state"] == "applied"
    assert (await courante("force", run_id, "c", "skip", "--data", "1", code=64))["error"]["code"] == "usage"
    assert (await courante("cancel", run_id, "--step", "d"))["step"] == "d"
    assert (await courante("force", run_id, "dd", "skip", code=3))["error"]["code"] == "step_not_found"
    by_step = {token.split("~")[1]: token for token in tokens}
    assert (await courante("complete", by_step["4"], "--data", '"done"'))["step"] == "e"
    assert (await courante("fail", by_step["5"], "--reason", "no ink"))["step"] == "f"
    assert "no token of a deferred step" in (await courante("complete", "run_x~1", code=1))["error"]["message"]
    result = await stage.result(run_id)
    assert result.status == "COMPLETED"
    assert result.output == {"a": {"n": 1}, "b": 7, "e": "done", "g": "g"}
    assert (await courante("signal", run_id, "go", code=1))["reason"] == "the run is COMPLETED"


async def test_nobody_works(stage: Stage, courante: Courante) -> None:
    """F64: with nobody at work a run is paused, goes on and is cancelled, once however often it is asked."""
    await stage.register(says("a"))
    run_id = await stage.client.submit("w")
    said: Said = await courante("pause", run_id, "--by", "ada", is_json=False)
    assert said.stable == "✓ RUN is paused; what is under way ends\nnext: courante resume RUN\n"
    assert (await courante("resume", run_id))["state"] == "applied"
    assert (await courante("pause", run_id))["state"] == "applied"
    assert (await courante("cancel", run_id, "--reason", "not needed"))["state"] == "applied"
    assert (await courante("cancel", run_id))["run_id"] == run_id
    stage.supervisor()
    stage.worker()
    assert (await stage.result(run_id)).status == "CANCELLED"
    assert (await courante("cancel", run_id))["reason"] == "the run is CANCELLED"
    assert (await stage.types(run_id)).count("command.applied") == 4


async def test_a_paused_run_is_listed(stage: Stage, courante: Courante) -> None:
    stage.supervisor()
    await stage.register(says("a"))
    run_id = await stage.client.submit("w")
    await courante("pause", run_id)
    await until(lambda: stage.types(run_id), lambda types: "command.applied" in types)
    assert [run["status"] for run in (await courante("runs", "--status", "PAUSED"))["runs"]] == ["PAUSED"]
    said: Said = await courante("status", run_id, is_json=False)
    assert said.stable.splitlines()[-1] == "next: courante resume RUN"


async def test_a_workflow_and_a_queue_are_paused(stage: Stage, courante: Courante) -> None:
    """They are listed until they are resumed; said twice, or of nothing, it is told that nothing changed."""
    stage.supervisor()
    await stage.register(waits("s", name="go"))
    run_id = await stage.client.submit("w")
    await until(lambda: stage.types(run_id), lambda types: types == ["run.started"])
    told = await courante("pause", "--workflow", "w", "--reason", "too many", "--by", "ada")
    assert told == {"workflow": "w", "by": "ada", "state": "applied", "runs": 1}
    said: Said = await courante("pause", "--queue", "slow", is_json=False)
    assert said.out == "✓ queue slow is paused; what workers hold of it ends\nnext: courante resume --queue slow\n"
    said = await courante("pause", "--queue", "slow", is_json=False)
    assert said.out == "· queue slow was paused before\nnext: courante resume --queue slow\n"
    listed = (await courante("pause", "--list"))["pauses"]
    assert [(one["kind"], one["name"], one["reason"]) for one in listed] == [
        ("queue", "slow", ""),
        ("workflow", "w", "too many"),
    ]
    said = await courante("resume", "--workflow", "w", is_json=False)
    assert said.out == "✓ workflow w goes on: 1 run told\nnext: courante runs --workflow w\n"
    assert (await courante("resume", "--queue", "slow"))["state"] == "applied"
    said = await courante("pause", "--list", is_json=False)
    assert said.out.startswith("no workflow and no queue is paused")
    for words in (("pause",), ("pause", run_id, "--queue", "slow"), ("resume",)):
        assert (await courante(*words, code=64))["error"]["code"] == "usage"
    assert (await courante("pause", "--workflow", "nobody", code=3))["error"]["code"] == "workflow_not_found"
