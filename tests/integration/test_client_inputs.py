"""What a client lets in: inputs are exact or refused with the place of every fault, and nothing half-done remains."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from courante.sdk.errors import InputInvalid
from integration.stage import Stage

pytestmark = pytest.mark.anyio
NOOP = {"id": "a", "type": "noop"}


SCHEMA = {
    "type": "object",
    "required": ["orders"],
    "properties": {
        "orders": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        "mode": {"enum": ["fast", "slow"]},
    },
    "additionalProperties": False,
}


async def test_every_problem_of_an_input_is_named(stage: Stage) -> None:
    """An input that does not fit the schema is refused with all its faults, each with its place."""
    workflow = await stage.register(NOOP, input=SCHEMA)
    with pytest.raises(InputInvalid) as refused:
        await stage.client.submit(workflow, {"orders": [{"n": 1}, {"n": "x"}], "mode": "mid", "odd": 1})
    problems = refused.value.problems
    assert len(problems) == 3
    assert any(problem.startswith("input.orders.1.n: ") for problem in problems)
    assert any(problem.startswith("input.mode: ") for problem in problems)
    assert any("odd" in problem for problem in problems)
    with pytest.raises(InputInvalid, match="orders"):
        await stage.client.submit(workflow, {})
    await stage.client.submit(workflow, {"orders": ()})
    assert await stage.commands() == 1


def own_cycle() -> object:
    items: list[object] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [1, math.nan]}, "input.a[1]: nan"),
        ([math.inf], "input[0]: inf"),
        ({"s": {1, 2}}, "input.s: JSON has no values of type set"),
        (b"bytes", "input: JSON has no values of type bytes"),
        ({"d": datetime.now(UTC)}, "input.d: JSON has no values of type datetime"),
        ({1: 2}, "the name 1"),
        ({"t": "\ud800"}, "input.t: the text holds half of a surrogate pair"),
        (object(), "input: JSON has no values of type object"),
        (own_cycle(), "nested deeper"),
    ],
)
async def test_an_input_that_is_no_json_is_refused(stage: Stage, value: object, words: str) -> None:
    """What JSON cannot say is never bent into shape: the error names where it stands."""
    with pytest.raises(InputInvalid) as refused:
        await stage.client.submit(await stage.register(NOOP), value)
    assert words in refused.value.message
    assert await stage.commands() == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", "nul\x00"),
        ("key", ""),
        ("key", "x" * 513),
        ("by", "\ud800"),
        ("tags", ["fine", "nul\x00"]),
        ("tags", ["t"] * 65),
        ("version", 0),
        ("version", 10**30),
        ("start_at", datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))),
    ],
)
async def test_a_field_that_cannot_be_kept_is_named(stage: Stage, field: str, value: Any) -> None:
    """Fields of a submission are checked before anything is written."""
    with pytest.raises(InputInvalid, match=f"^{field}: "):
        await stage.client.submit(await stage.register(NOOP), **{field: value})
    assert await stage.commands() == 0


async def test_an_input_of_20_mib_is_refused(stage: Stage) -> None:
    """The limit of 16 MiB is told, and nothing is kept."""
    with pytest.raises(InputInvalid, match=r"20,971,522 bytes; at most 16,777,216"):
        await stage.client.submit(await stage.register(NOOP), "x" * 20 * 1024 * 1024)
    assert await stage.commands() == 0
    assert not [key async for key in stage.redis.scan_iter(match=f"{stage.client.keys.prefix}blob:*")]


async def test_large_payloads_travel_by_content(stage: Stage) -> None:
    """Inputs and outputs beyond 8 KiB are stored once under their digest and come back equal, also from the log."""
    stage.worker()
    stage.supervisor()
    nodes: list[dict[str, object]] = [{**NOOP}, {"id": "b", "type": "noop", "depends_on": ["a"]}]
    large = {"text": "ä\x00\U0001f483" * 3_000, "n": 2**70}
    done = await stage.run(await stage.register(*nodes), large)
    assert done.output == {"b": large}
    outputs = [event.payload for event in await stage.events(done.run_id) if event.facts.type == "step.succeeded"]
    assert outputs[0] is not None
    assert outputs[0].startswith(b"@")
    assert len(set(outputs)) == 1
    await stage.forget(done.run_id)
    assert (await stage.client.result(done.run_id)).output == {"b": large}


async def test_hostile_numbers_and_texts_come_back_as_they_were(stage: Stage) -> None:
    """Big integers, tiny floats, NUL and emoji survive input, step, output and log."""
    stage.worker()
    stage.supervisor()
    value: list[object] = [
        2**70,
        -(2**63),
        5e-324,
        1.7976931348623157e308,
        0.1,
        "\x00\x1f\u2028",
        "𝄞",
        {"": [[]]},
        {"__proto__": {}},
    ]
    assert (await stage.run(await stage.register(NOOP), value)).output == {"a": value}


async def test_a_schema_fetches_nothing(stage: Stage) -> None:
    """A reference to another document is refused when the input is checked, not followed."""
    workflow = await stage.register(NOOP, input={"type": "object"})
    async with stage.client.pool.acquire() as conn:
        resolved = await stage.client.catalog.resolve(conn, workflow, None)
    ir = msgspec.structs.replace(resolved.plan.ir, input_schema={"$ref": "http://127.0.0.1:1/schema.json"})
    resolved.plan.ir = ir
    with pytest.raises(ValueError, match="outside of the document"):
        stage.client.catalog.check_input(resolved.plan, b"{}")
