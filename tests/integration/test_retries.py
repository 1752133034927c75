"""Failed attempts are followed by others, after a backoff that no slot waits for, within the limits of step and run."""

from __future__ import annotations

from collections import Counter

import pytest

from courante import FatalError, RetryableError
from courante.sdk.fold.fold import fold
from courante.sdk.marking.marking import RunPhase
from courante.sdk.stores.runs import list_steps
from courante.sdk.stores.status import StepStatus
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
QUICK = {"max_attempts": 3, "base": "10ms", "max": "20ms"}


class Flaky:
    """Fails ``times`` times for each input, then returns it."""

    def __init__(self, times: int, error: type[Exception] = ValueError) -> None:
        self.times = times
        self.error = error
        self.calls: Counter[str] = Counter()

    async def __call__(self, value: str) -> str:
        self.calls[value] += 1
        if self.calls[value] <= self.times:
            raise self.error(f"try {self.calls[value]}")
        return value


def flaky(id: str, *depends_on: str, **fields: object) -> dict[str, object]:
    retry = fields.pop("retry", QUICK)
    more = {"depends_on": list(depends_on)} if depends_on else {}
    return {"id": id, "type": "function", "config": {"handler": "flaky"}, "retry": retry, **more, **fields}


async def start(stage: Stage, handler: Flaky) -> None:
    async def call(value: str) -> str:
        return await handler(value)

    stage.worker({"flaky": call})
    stage.supervisor()


async def test_the_third_try_is_the_last_that_is_needed(stage: Stage) -> None:
    """S0-267, S3-70: two failures and a success; every attempt is in the history, with its error."""
    handler = Flaky(2)
    await start(stage, handler)
    workflow = await stage.register(flaky("a"), {"id": "b", "type": "noop", "depends_on": ["a"]})
    run_id = await stage.client.submit(workflow, "x")
    result = await stage.result(run_id)
    assert (result.status, result.output) == ("COMPLETED", {"b": "x"})
    assert handler.calls["x"] == 3
    retried = [event for event in await stage.events(run_id) if event.facts.type == "step.retried"]
    assert [event.facts.attempt for event in retried] == [1, 2]
    assert all(event.facts.error is not None and event.facts.error.type == "ValueError" for event in retried)
    async with stage.client.pool.acquire() as conn:
        steps = [step for step in await list_steps(conn, run_id) if step.node == "a"]
    assert [(step.attempt, step.status) for step in steps] == [
        (1, StepStatus.FAILED),
        (2, StepStatus.FAILED),
        (3, StepStatus.SUCCEEDED),
    ]


@pytest.mark.parametrize(
    ("fields", "error", "calls"),
    [
        ({}, ValueError, 3),
        ({}, FatalError, 1),
        ({"retry": {"max_attempts": 1}}, ValueError, 1),
        ({"retry": {**QUICK, "on": ["network"]}}, ValueError, 1),
        ({"retry": {**QUICK, "on": ["network"]}}, ConnectionError, 3),
        ({"retry": {"base": "1ms", "max": "1ms"}, "max_retries": 3}, ValueError, 4),
    ],
    ids=["spent", "fatal", "one", "not listed", "listed", "max_retries"],
)
async def test_a_step_that_fails_for_good_has_had_its_tries(
    stage: Stage, fields: dict[str, object], error: type[Exception], calls: int
) -> None:
    """F14, C15: as many as the policy says, none for what no retry mends; then the run fails with the last error."""
    handler = Flaky(1_000, error)
    await start(stage, handler)
    result = await stage.run(await stage.register(flaky("a", **fields)), "x")
    assert result.status == "FAILED"
    assert result.error is not None
    assert (result.error["attempt"], result.error["message"]) == (calls, f"try {calls}")
    assert handler.calls["x"] == calls


async def test_the_budget_of_a_run_is_shared_by_its_steps(stage: Stage) -> None:
    """S3-72: five steps at once want two retries each; the run has three, and not one more."""
    handler = Flaky(1_000)
    stage.worker({"flaky": handler.__call__})
    stage.supervisor()
    nodes = [flaky(f"n{n}", input=f"'{n}'") for n in range(5)]
    workflow = await stage.register(*nodes, policy={"retry_budget": 3, "on_failure": "continue"})
    run_id = await stage.client.submit(workflow)
    assert (await stage.result(run_id)).status == "FAILED"
    types = Counter(await stage.types(run_id))
    assert (types["step.retried"], types["step.failed"]) == (3, 5)
    assert sum(handler.calls.values()) == 5 + 3


async def test_what_the_other_side_asks_to_wait_is_waited(stage: Stage) -> None:
    """Retry-After is longer than the backoff, so it counts."""
    calls: list[int] = []

    async def limited() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise RetryableError("slow down", retry_after_s=0.4)
        return "ok"

    stage.worker({"limited": limited})
    stage.supervisor()
    node = {"id": "a", "type": "function", "config": {"handler": "limited"}, "retry": QUICK}
    run_id = await stage.client.submit(await stage.register(node))
    assert (await stage.result(run_id)).output == {"a": "ok"}
    events = await stage.events(run_id)
    retried = next(event for event in events if event.facts.type == "step.retried")
    due = next(event.facts.due for event in events if event.facts.type == "timer.set")
    assert due - retried.at_ms == 400


async def test_a_step_between_two_tries_is_in_the_log_as_it_is_in_redis(stage: Stage) -> None:
    """The marking that is folded from the log is the living one; no slot is held; a cancelled backoff runs nothing."""
    handler = Flaky(1_000)
    await start(stage, handler)
    workflow = await stage.register(flaky("a", retry={"base": "1h", "max": "1h"}))
    run_id = await stage.client.submit(workflow, "x")
    keys = stage.client.keys.partition(0)
    await until(lambda: stage.redis.zcard(keys.timers), lambda timers: timers == 1)
    await until(lambda: stage.events(run_id), lambda events: bool(events) and events[-1].facts.type == "timer.set")
    ir = (await stage.client.catalog.plan((await stage.events(run_id))[0].facts.data["ir"])).ir  # type: ignore[arg-type]  # a hash
    marking = fold(ir, await stage.events(run_id))
    (token,) = marking.tokens.values()
    assert (marking.phase, token.attempt, marking.retries) == (RunPhase.RUNNING, 2, 1)
    assert await stage.pending() == {}
