"""Steps on a real worker: hints, middleware, what they share, and processes of their own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from structlog.testing import capture_logs

from courante import Context, StepCall
from courante.sdk.authoring.steps import Isolation, Steps
from integration import apart
from integration.http_site import echo, open_site
from integration.stage import Stage, until
from integration.standing_text import places_of

pytestmark = pytest.mark.anyio
SECRET = "canary-7d20be41"


class Item(msgspec.Struct):
    price: float


class Order(msgspec.Struct):
    items: list[Item]


def calls(handler: str, **fields: Any) -> dict[str, Any]:
    return {"id": "a", "type": "function", "config": {"handler": handler}, **fields}


def registry(isolation: Isolation = "none", **steps: Callable[..., Any]) -> Steps:
    made = Steps()
    for name, function in steps.items():
        made.add(function, name, isolation=isolation)
    return made


async def lives(pid: int) -> bool:
    """Whether a process is there, and has not ended: nobody may have waited for it yet."""
    try:
        stat = await anyio.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def total(order: Order) -> Item:
    return Item(sum(item.price for item in order.items))


async def test_a_step_is_given_what_its_hint_says(stage: Stage) -> None:
    """And what it returns is written the same way."""
    stage.worker({"total": total})
    stage.supervisor()
    workflow = await stage.register(calls("total"))
    assert (await stage.run(workflow, {"items": [{"price": 2}, {"price": 0.5}]})).output == {"a": {"price": 2.5}}


async def test_an_input_that_does_not_fit_its_hint_fails_the_step_at_once(stage: Stage) -> None:
    """The error names the field, and no second attempt is made."""
    stage.worker({"total": total})
    stage.supervisor()
    items: list[object] = [{"price": 1}] * 3
    done = await stage.run(await stage.register(calls("total")), {"items": [*items, {"price": "much"}]})
    assert done.error is not None
    assert (done.status, done.error["type"], done.error["attempt"]) == ("FAILED", "INPUT_INVALID", 1)
    assert done.error["message"].startswith("$.items[3].price: expected `float`, got `str`")


async def test_middleware_stands_around_every_step(stage: Stage) -> None:
    """It sees what goes in, what comes out and what fails, outermost first, and may change the output."""
    seen: list[object] = []

    async def outer(call: StepCall) -> Any:
        seen.append(("before", call.step, call.input, call.context.attempt))
        try:
            output = await call()
        except ValueError as error:
            seen.append(("error", str(error)))
            raise
        seen.append(("after", output))
        return output

    async def inner(call: StepCall) -> Any:
        return [await call()]

    def half(number: int) -> object:
        if number % 2:
            raise ValueError("odd")
        return number // 2

    steps = registry(half=half)
    steps.add_middleware(outer)
    steps.add_middleware(inner)
    stage.worker(steps)
    stage.supervisor()
    workflow = await stage.register(calls("half", max_retries=0))
    assert (await stage.run(workflow, 4)).output == {"a": [2]}
    assert (await stage.run(workflow, 3)).status == "FAILED"
    assert seen == [("before", "half", 4, 1), ("after", [2]), ("before", "half", 3, 1), ("error", "odd")]


@pytest.mark.parametrize("how", ["plain", "process", "middleware", "item"])
async def test_what_gives_no_json_is_executed_once(stage: Stage, how: str) -> None:
    """It gives the same the next time: in a thread or a process, through middleware, and for items of a map."""
    calls_made: list[object] = []

    def counted(given: object) -> object:
        calls_made.append(given)
        return object()

    async def opened(call: StepCall) -> Any:
        return iter([await call()])

    steps = registry("process", counted=apart.unwritten) if how == "process" else registry(counted=counted)
    if how == "middleware":
        steps.add_middleware(opened)
    stage.worker(steps)
    stage.supervisor()
    nodes = [calls("counted")]
    if how == "item":
        nodes = [
            {"id": "m", "type": "map", "config": {"items": "[1]"}},
            {**calls("counted"), "depends_on": ["m"]},
            {"id": "all", "type": "aggregate", "depends_on": ["a"]},
        ]
    done = await stage.run(await stage.register(*nodes))
    failures = [event.facts for event in await stage.events(done.run_id) if event.facts.error is not None]
    assert done.status == "FAILED"
    assert [(facts.type, facts.node, facts.attempt) for facts in failures][:1] == [("step.failed", "a", 1)]
    assert failures[0].error is not None
    assert (failures[0].error.type, failures[0].error.kind) == ("OUTPUT_MISMATCH", "fatal")
    assert "no JSON value" in failures[0].error.message
    assert how == "process" or len(calls_made) == 1


async def test_steps_share_what_lifespans_open(stage: Stage) -> None:
    """Opened before the first step, closed when the worker has ended."""
    states: list[str] = []

    async def counter() -> AsyncIterator[dict[str, object]]:
        states.append("open")
        yield {"counts": []}
        states.append("closed")

    def count(context: Context) -> int:
        context.resources["counts"].append(context.node)
        return len(context.resources["counts"])

    steps = registry(count=count)
    steps.add_lifespan(counter)
    stage.worker(steps)
    stage.supervisor()
    workflow = await stage.register(calls("count"))
    assert [(await stage.run(workflow)).output for _ in range(2)] == [{"a": 1}, {"a": 2}]
    assert states == ["open"]
    await stage.dismiss()
    assert states == ["open", "closed"]


async def test_two_lifespans_that_give_the_same_name_stop_the_worker() -> None:
    """Nobody could tell which of the two a step gets."""
    from courante.runner.toolbox import open_toolbox

    async def one() -> AsyncIterator[dict[str, object]]:
        yield {"pool": 1}

    async def two() -> AsyncIterator[dict[str, object]]:
        yield {"pool": 2}

    steps = Steps()
    steps.add_lifespan(one)
    steps.add_lifespan(two)
    with pytest.raises(ValueError, match="two lifespans give 'pool'"):
        async with open_toolbox(steps, "w"):
            raise AssertionError


async def test_the_logger_of_a_step_says_where_it_runs(stage: Stage) -> None:
    """Run, workflow, node and attempt are bound."""

    def talk(context: Context) -> str:
        with capture_logs() as lines:
            context.logger.info("parcel_packed", weight_g=3)
        return json.dumps(lines)

    stage.worker({"talk": talk})
    stage.supervisor()
    done = await stage.run(await stage.register(calls("talk")))
    (line,) = json.loads(done.output["a"])
    assert line == {
        "run_id": done.run_id,
        "workflow": "w",
        "node": "a",
        "attempt": 1,
        "weight_g": 3,
        "event": "parcel_packed",
        "log_level": "info",
    }


async def test_a_step_runs_in_a_process_of_its_own(stage: Stage) -> None:
    """The same one for the next step; with its hints and its context."""
    stage.worker(registry("process", where=apart.where, asynchronous=apart.asynchronous))
    stage.supervisor()
    workflow = await stage.register(calls("where"))
    first, second = [await stage.run(workflow, {"amount": 2}) for _ in range(2)]
    assert first.output["a"]["pid"] == second.output["a"]["pid"] != os.getpid()
    assert first.output["a"]["context"] == [first.run_id, "a", 1, f"{first.run_id}/a"]
    done = await stage.run(workflow, {"amount": "much"})
    assert done.error is not None
    assert (done.error["type"], done.error["message"][:8]) == ("INPUT_INVALID", "$.amount")
    assert (await stage.run(await stage.register(calls("asynchronous"), id="v"), 1)).output == {"a": 2}


async def test_a_process_is_killed_when_the_time_of_its_step_is_up(stage: Stage, tmp_path: Path) -> None:
    """Also one that computes without end; the worker goes on with another one."""
    stage.worker(registry("process", busy=apart.busy, asynchronous=apart.asynchronous))
    stage.supervisor()
    path = tmp_path / "pid"
    done = await stage.run(await stage.register(calls("busy", timeout="3s", max_retries=0)), str(path))
    assert done.error is not None
    assert done.error["type"] == "TIMEOUT"
    assert not await until(partial(lives, int(path.read_text())), lambda lives: not lives)
    assert (await stage.run(await stage.register(calls("asynchronous"), id="v"), 1)).output == {"a": 2}


@pytest.mark.parametrize(
    ("how", "type", "words"),
    [
        ("refused", "Refused", "no stock"),
        ("unwritable", "RuntimeError", "Unwritable: 1 and 2"),
        ("disguised", "RuntimeError", "Disguised: no parcel"),
        ("exit", "SystemExit", "3"),
        ("interrupt", "RuntimeError", "KeyboardInterrupt"),
        ("kill", "PROCESS_DIED", "signal 9"),
    ],
)
async def test_what_goes_wrong_in_a_process_fails_the_step(stage: Stage, how: str, type: str, words: str) -> None:
    """With the exception, and the place in the step's own process."""
    stage.worker(registry("process", raises=apart.raises))
    stage.supervisor()
    done = await stage.run(await stage.register(calls("raises", max_retries=0)), how)
    assert done.error is not None
    assert (done.error["type"], done.status) == (type, "FAILED")
    assert words in done.error["message"]
    assert how == "kill" or "apart.py" in done.error["traceback"]


async def test_a_process_that_dies_is_noticed_though_its_children_live(stage: Stage, tmp_path: Path) -> None:
    """They have inherited the pipe over which it would have answered. They are killed with it."""
    stage.worker(registry("process", leaves=apart.leaves_an_heir, asynchronous=apart.asynchronous))
    stage.supervisor()
    path = tmp_path / "pid"
    try:
        done = await stage.run(await stage.register(calls("leaves", max_retries=0)), str(path))
        assert done.error is not None
        assert (done.error["type"], done.error["message"][-8:]) == ("PROCESS_DIED", "signal 9")
        assert not await until(partial(lives, int(path.read_text())), lambda lives: not lives)
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(path.read_text()), signal.SIGKILL)
    assert (await stage.run(await stage.register(calls("asynchronous"), id="v"), 1)).output == {"a": 2}


async def test_a_process_has_the_secrets_of_its_worker(
    stage: Stage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also those of its directory; what a step says of them is masked in its error and in what it logs."""
    (tmp_path / "SHOP").write_text(SECRET, encoding="utf-8")
    stage.worker(registry("process", confides=apart.confides), secrets_dir=tmp_path)
    stage.supervisor()
    done = await stage.run(await stage.register(calls("confides", max_retries=0)), "SHOP")
    assert done.error is not None
    assert (done.error["type"], done.error["message"]) == ("Refused", "*** is not good enough")
    assert await places_of(stage, SECRET) == []
    logged = "".join(capfd.readouterr())
    assert "secret_told" in logged
    assert SECRET not in logged


async def test_a_process_calls_what_its_worker_may_call(stage: Stage) -> None:
    """The reach is the worker's, wherever its settings come from; plain steps call as they do elsewhere."""
    stage.worker(registry("process", calls=apart.calls, plainly=apart.calls_plainly), http_allow="127.0.0.1")
    stage.supervisor()
    async with open_site(echo) as site:
        done = await stage.run(await stage.register(calls("calls", max_retries=0)), site.url)
        assert done.output == {"a": 200}
        done = await stage.run(await stage.register(calls("plainly", max_retries=0)), site.url)
        assert done.output == {"a": [200, 200]}


async def test_heartbeats_and_cancellation_reach_into_a_process(stage: Stage, tmp_path: Path) -> None:
    """A worker that stops tells the step; the next attempt finds what was reported."""
    steps = registry("process", beats=apart.beats)
    first = stage.worker(steps)
    stage.supervisor()
    path = tmp_path / "beaten"
    run_id = await stage.client.submit(await stage.register(calls("beats")), str(path))

    async def is_beaten() -> bool:
        return path.exists()

    await until(is_beaten, bool)
    first.stop()
    await stage.ends[0].wait()
    stage.worker(steps)
    assert (await stage.result(run_id)).output == {"a": {"done": 5}}


async def test_a_step_in_a_process_may_end_later(stage: Stage) -> None:
    """By the token that it returns."""
    from courante.sdk.authoring.deferral import DeferToken

    stage.worker(registry("process", defers=apart.defers))
    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(calls("defers")))
    token = DeferToken(run_id, "0", 1).text

    async def is_handed_out() -> bool:
        return "step.waiting" in await stage.types(run_id)

    await until(is_handed_out, bool)
    await stage.client.complete(token, {"by": "hand"})
    assert (await stage.result(run_id)).output == {"a": {"by": "hand"}}


async def test_a_step_of_a_function_cannot_run_in_a_process(stage: Stage) -> None:
    """Another process would not find it."""

    def inner() -> None: ...

    stage.worker(registry("process", inner=inner))
    stage.supervisor()
    done = await stage.run(await stage.register(calls("inner")))
    assert done.error is not None
    assert (done.error["type"], done.error["attempt"]) == ("CONFIG_INVALID", 1)
