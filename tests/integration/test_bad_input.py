"""Whatever users hand in: the fault is named with its place, the run fails or is refused, nothing else is touched."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from courante.compiler.analysis import compile_workflow
from courante.compiler.normalize import read_document
from courante.compiler.source import load_source
from courante.compiler.source_error import SourceError
from courante.sdk.authoring.steps import FatalError, Steps
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


def step(id: str, handler: str = "bad", *after: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "config": {"handler": handler}, "depends_on": list(after), **fields}


def codes(document: Any) -> dict[str, str]:
    """The faults of a document: code and message."""
    read = read_document(document)
    found = list(read.diagnostics)
    if read.workflow is not None:
        found += compile_workflow(read.workflow)[1]
    return {one.code: f"{'.'.join(map(str, one.path))}: {one.message} {one.hint}" for one in found}


def test_an_unknown_node_type_is_refused_with_its_place() -> None:
    """The compiler names the node and the nearest type, so that no run meets it."""
    found = codes({"courante": 1, "id": "w", "nodes": [{"id": "a", "type": "nop"}]})
    (message,) = found.values()
    assert message.startswith("nodes.0.type")
    assert "nop" in message
    assert "noop" in message


def test_a_document_that_is_no_utf8_is_refused_with_its_place() -> None:
    """Bytes that no text is made of are refused before anything is read from them."""
    with pytest.raises(SourceError) as refused:
        load_source(b"courante: 1\nid: \xff\xfe\n", format=None)
    assert "UTF-8" in refused.value.diagnostics[0].message


def test_a_step_with_too_many_arguments_is_refused_when_it_is_registered() -> None:
    """A function that no worker could call is refused by name, not when it is needed."""

    def wants(a: object, b: object, c: object) -> object:
        return a, b, c

    with pytest.raises(ValueError, match="'wants'"):
        Steps().add(wants, "wants")
    with pytest.raises(ValueError, match="'text': nothing tells what it takes"):
        Steps().add(str, "text")


def recursive() -> object:
    items: list[object] = []
    items.append(items)
    return items


class Odd:
    """Nothing that JSON knows, and unfriendly too."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not compare me")

    def __hash__(self) -> int:
        return 1


@dataclass
class Point:
    x: int


BAD_OUTPUTS: list[tuple[Callable[[], object], str]] = [
    (lambda: {"items": [1, {2}]}, "items[1]: JSON has no values of type set"),
    (lambda: {"a": math.nan}, "a: nan is no JSON number"),
    (lambda: [-math.inf], "[0]: -inf is no JSON number"),
    (lambda: b"bytes", "JSON has no values of type bytes"),
    (object, "JSON has no values of type object"),
    (lambda: {"deep": [Odd()]}, "deep[0]: JSON has no values of type Odd"),
    (lambda: [Point(1)], "[0]: JSON has no values of type Point"),
    (recursive, "or into itself"),
    (lambda: {"t": "\ud83d"}, "t: the text holds half of a surrogate pair"),
    (lambda: {1: 2}, "the name 1 is no text"),
    (lambda: (n for n in range(3)), "JSON has no values of type generator"),
]


async def test_outputs_that_are_no_json_fail_their_step(stage: Stage) -> None:
    """F15: each fails at once, with OUTPUT_MISMATCH and the place of the fault; one worker runs all, and lives on."""
    handlers: dict[str, Callable[..., Any]] = {f"bad{n}": make for n, (make, _) in enumerate(BAD_OUTPUTS)}
    stage.worker(handlers)
    stage.supervisor()
    ids = [await stage.client.submit(await stage.register(step("a", name), id=f"w{name}")) for name in handlers]
    for result, (_, words) in zip(await stage.results(ids), BAD_OUTPUTS, strict=True):
        assert result.status == "FAILED"
        assert result.error is not None
        found = result.error["type"], result.error["node"], result.error["attempt"]
        assert found == ("OUTPUT_MISMATCH", "a", 1)
        assert words in result.error["message"]
        assert result.error["message"].count("no JSON value") == 1
    await lives_on(stage)


async def lives_on(stage: Stage) -> None:
    """Everybody is still there, nothing is pending, and the next run is fine."""
    done = await stage.run(await stage.register({"id": "a", "type": "noop"}, id="fine"), 1)
    assert done.output == {"a": 1}
    assert not any(end.is_set() for end in stage.ends)
    assert await until(stage.pending, lambda pending: not pending) == {}


class Mute(Exception):
    """Cannot even be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no")


async def raise_cancelled() -> None:
    inner = anyio.get_cancelled_exc_class()
    raise inner("not by us")


def raise_value(value: object) -> None:
    raise ValueError(f"{value} \ud83d \x00 {'long ' * 5_000}")


def raise_deep() -> None:
    def dive(depth: int) -> None:
        if depth == 200:
            raise KeyError("at the bottom")
        dive(depth + 1)

    dive(0)


def raise_recursion() -> None:
    raise_recursion()


def raise_mute() -> None:
    raise Mute


def raise_fatal() -> None:
    raise FatalError("give up")


def raise_interrupt() -> None:
    raise KeyboardInterrupt


async def interrupt_the_loop() -> None:
    raise KeyboardInterrupt


async def exit_the_loop() -> None:
    sys.exit(3)


def stop_iteration() -> None:
    raise StopIteration(1)


BAD_HANDLERS: dict[str, tuple[Callable[..., Any], str]] = {
    "value": (raise_value, "ValueError"),
    "deep": (raise_deep, "KeyError"),
    "mute": (raise_mute, "Mute"),
    "fatal": (raise_fatal, "FatalError"),
    "exit": (lambda: sys.exit(3), "SystemExit"),
    "interrupt": (raise_interrupt, "RetryableError"),
    "async_exit": (exit_the_loop, "SystemExit"),
    "async_interrupt": (interrupt_the_loop, "RetryableError"),
    "recursion": (raise_recursion, "RecursionError"),
    "cancelled": (raise_cancelled, "CancelledError"),
    "stop": (stop_iteration, "RuntimeError"),
}


async def test_handlers_that_raise_anything_fail_their_step(stage: Stage) -> None:
    """The error keeps type, message, node, worker and the end of the traceback, all of it storable."""
    worker = stage.worker({name: function for name, (function, _) in BAD_HANDLERS.items()})
    stage.supervisor()
    ids = {
        name: await stage.client.submit(
            await stage.register(step("a", name, retry={"max_attempts": 1}), id=f"w-{name}"), {"n": 1}
        )
        for name in BAD_HANDLERS
    }
    for name, (_, kind) in BAD_HANDLERS.items():
        result = await stage.result(ids[name])
        error = result.error
        assert result.status == "FAILED"
        assert error is not None
        assert (error["type"], error["node"], error["attempt"], error["worker"]) == (kind, "a", 1, worker.name)
        assert len(error["message"]) <= 2_000
        assert len(error["traceback"]) <= 8_000
        assert kind in error["traceback"]
        failed = next(event for event in await stage.events(ids[name]) if event.facts.type == "step.failed")
        assert failed.facts.error is not None
        assert failed.facts.error.message == error["message"]
    deep = (await stage.result(ids["deep"])).error
    assert deep is not None
    assert "at the bottom" in deep["message"]
    assert "raise_deep" in deep["traceback"].splitlines()[1], "it begins in the step"
    await lives_on(stage)


async def test_payloads_beyond_the_limit_fail_their_step(stage: Stage) -> None:
    """An output of 20 MiB is refused with its size; what had been completed before is kept."""
    stage.worker({"big": lambda: "x" * 20 * 1024 * 1024})
    stage.supervisor()
    nodes = [{"id": "a", "type": "noop"}, step("b", "big", "a")]
    result = await stage.run(await stage.register(*nodes), 1)
    assert result.error is not None
    assert (result.status, result.error["type"]) == ("FAILED", "PAYLOAD_TOO_LARGE")
    assert "20,971,522 bytes" in result.error["message"]
    assert await stage.succeeded(result.run_id) == ["a"]
    await lives_on(stage)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"type": "echo", "config": {"value": "{{ input.missing }}"}}, "missing"),
        ({"type": "transform", "config": {"expression": "input.n / 0"}}, "zero"),
        ({"type": "noop", "when": "input.n"}, "'when' gives true or false"),
        ({"type": "wait", "config": {"until": "1.0 / 0.0"}}, ""),
        ({"type": "wait", "config": {"until": "-1"}}, "no time in seconds"),
        ({"type": "wait", "config": {"until": "1e300"}}, "no time in seconds"),
        ({"type": "wait", "config": {"until": "'tomorrow'"}}, "tomorrow"),
        ({"type": "filter", "config": {"where": "item > 1"}}, "a filter reads a list"),
        ({"type": "conditional", "config": {"rules": [{"when": "false", "next": ["z"]}]}}, "no"),
    ],
)
async def test_a_node_that_cannot_be_evaluated_fails(stage: Stage, node: dict[str, Any], words: str) -> None:
    """What an expression or a config gives wrong at run time is the node's failure, with the reason."""
    stage.worker()
    stage.supervisor()
    nodes = [{"id": "a", **node}]
    if node["type"] == "conditional":
        nodes.append({"id": "z", "type": "noop"})
    result = await stage.run(await stage.register(*nodes), {"n": 1})
    assert result.status == "FAILED"
    assert result.error is not None
    assert result.error["node"] == "a"
    assert words in result.error["message"]


def same(value: object) -> object:
    return value


async def test_hostile_words_in_a_document_stay_words(stage: Stage) -> None:
    """Ids of 128 characters and texts full of separators run through keys, records and the log unharmed."""
    stage.worker({"a|b;c:d,e": same})
    stage.supervisor()
    long = "n" + "-._" * 42 + "x"
    assert len(long) == 128
    nasty = "|;:,~+*-{}[]\n\r\t\x00 '\"\\ \u2028 {{ 1 + 1 }}"
    nodes = [
        {"id": long, "type": "echo", "config": {"value": {nasty.replace("{{ 1 + 1 }}", ""): "x"}}},
        step("b", "a|b;c:d,e", long),
    ]
    result = await stage.run(await stage.register(*nodes, id="w" * 128), nasty, key=nasty.replace("\x00", ""), by="|;")
    assert json.loads(json.dumps(result.output)) == {"b": {nasty.replace("{{ 1 + 1 }}", ""): "x"}}
    assert await stage.succeeded(result.run_id) == [long, "b"]
