"""Nodes of type llm ask the provider echo: prompts, structured output, repair, and what is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from courante.compiler.source import load_source
from courante.runner.models.terms import ModelTerms
from courante.sdk.authoring.steps import Steps
from courante.sdk.spending.spent import Spent, told_spent
from integration.floor import compile_document
from integration.stage import Stage

pytestmark = pytest.mark.anyio
SAMPLES = Path(__file__).resolve().parents[2] / "test_data"
ONCE = {"max_attempts": 1}
SHAPE = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 3}}}


@pytest.fixture
async def stage_here(stage: Stage) -> Stage:
    stage.worker()
    stage.supervisor()
    return stage


def asks(id: str = "a", **config: Any) -> dict[str, Any]:
    """A node that asks echo. Some names are fields of the node."""
    fields: dict[str, Any] = {
        name: config.pop(name) for name in ("retry", "input", "depends_on", "timeout") if name in config
    }
    return {"id": id, "type": "llm", "config": {"provider": "echo", **config}, **fields}


async def told(stage: Stage, run_id: str) -> list[tuple[str, Spent]]:
    """The ends of attempts in the log, and what they have taken."""
    events = await stage.events(run_id)
    return [(each.facts.type, told_spent(each.facts.data)) for each in events if each.facts.attempt]


async def test_a_prompt_is_filled_and_answered(stage_here: Stage) -> None:
    """Templates read the run's input and other steps; the output is the text; the log tells what was spent."""
    first = asks(prompt="About {{ input.topic }}: {{ input.list }}", system="Be {{ input.mood }}.", model="echo-1")
    second = asks("b", prompt="<{{ steps.a.output }}>", depends_on="a")
    await stage_here.register(first, second, output="outputs.b")
    done = await stage_here.run("w", {"topic": "rain", "list": [1, None], "mood": "brief"})
    assert done.output == "<About rain: [1,null]>"
    (_, spent), _ = [each for each in await told(stage_here, done.run_id) if each[0] == "step.succeeded"]
    assert (spent.provider, spent.model, spent.calls, spent.unknown) == ("echo", "echo-1", 1, 0)
    assert (spent.input_tokens, spent.output_tokens) == (3 + 5, 5)  # "Be brief.", "About rain: [1,null]": 4 bytes each


async def test_messages_come_before_the_prompt_and_the_input_is_the_last_resort(stage_here: Stage) -> None:
    """Without prompt and messages the input of the node is asked, as JSON where it is no text."""
    turns = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    last = asks("c", input={"x": "1 + 1"}, depends_on="b")
    nodes = (asks(messages=turns, prompt="three"), asks("b", messages=turns, depends_on="a"), last)
    await stage_here.register(*nodes, output="{'a': outputs.a, 'b': outputs.b, 'c': outputs.c}")
    done = await stage_here.run("w")
    assert done.output == {"a": "three", "b": "one", "c": '{"x":2}'}


@pytest.mark.parametrize(
    ("config", "output"),
    [
        ({"schema": True, "prompt": "p"}, {"echo": "p"}),
        ({"schema": SHAPE, "prompt": "p"}, {"n": 3}),
        ({"schema": SHAPE, "echo": 'Here: {"n": 2}, no: ```json\n{"n": 4}\n```'}, {"n": 4}),
        ({"schema": SHAPE, "echo": {"n": "{{ input.n }}"}}, {"n": 7}),
        ({"schema": False, "echo": '{"n": 2}'}, '{"n": 2}'),
        ({"schema": True, "echo": "[]", "stream": True}, []),
    ],
)
async def test_structured_output(stage_here: Stage, config: dict[str, Any], output: Any) -> None:
    """With a schema the output is the JSON in the answer that fits it."""
    await stage_here.register(asks(**config), output="outputs.a")
    done = await stage_here.run("w", {"n": 7})
    assert (done.output, done.error) == (output, None)


async def test_an_answer_of_another_shape_is_shown_to_the_model_again(stage_here: Stage) -> None:
    """Every try is an attempt with spending of its own; from the second on the model sees what was wrong."""
    retry = {"max_attempts": 3, "base": "1ms", "jitter": False}
    await stage_here.register(asks(schema=SHAPE, prompt="p", echo='{"n": 1}', retry=retry))
    done = await stage_here.run("w")
    assert done.error is not None
    assert done.error["type"] == "OUTPUT_INVALID"
    assert "answer.n: 1 is less than the minimum of 3" in done.error["message"]
    ends = [(kind, spent) for kind, spent in await told(stage_here, done.run_id) if spent.calls]
    assert [kind for kind, _ in ends] == ["step.retried", "step.retried", "step.failed"]
    first, second, third = (spent.input_tokens for _, spent in ends)
    assert first == 1
    assert second == third > 20  # the answer, what was wrong with it, and what is wanted


@pytest.mark.parametrize(
    ("config", "type", "words"),
    [
        ({"prompt": "{{ input.nothing.there }}"}, "EXPRESSION_ERROR", "nothing"),
        ({"schema": SHAPE, "echo": "no"}, "OUTPUT_INVALID", "it holds no JSON"),
        ({"schema": True, "echo": {"a": "b" * 50}, "max_tokens": 5}, "OUTPUT_INVALID", "cut off: max_tokens is 5"),
        ({"provider": "{{ input.provider }}", "model": "m"}, "CONFIG_INVALID", "Unknown provider: mistral"),
        ({"model": "{{ input.provider }}", "provider": "{{ '' }}"}, "CONFIG_INVALID", "Unknown provider"),
        ({"temperature": "{{ input.three }}"}, "CONFIG_INVALID", "temperature is a number from 0 to 2, not 3"),
        ({"max_tokens": "{{ input.provider }}"}, "CONFIG_INVALID", "max_tokens is a whole number"),
        ({"max_file_tokens": "{{ input.provider }}"}, "CONFIG_INVALID", "max_file_tokens is a whole number"),
        ({"messages": "{{ input.provider }}"}, "INPUT_INVALID", "messages are a list"),
        ({"messages": []}, "INPUT_INVALID", "no message"),
    ],
)
async def test_what_fails(stage_here: Stage, config: dict[str, Any], type: str, words: str) -> None:
    """What cannot be asked, or was not answered, fails with a code and the reason."""
    await stage_here.register(asks(retry=ONCE, **config))
    done = await stage_here.run("w", {"provider": "mistral", "three": 3})
    assert done.error is not None
    assert (done.error["type"], words in done.error["message"]) == (type, True), done.error


async def test_a_worker_may_send_every_call_to_one_provider(stage: Stage) -> None:
    """Documents that name providers with keys run offline where the operator says so."""
    stage.worker(models=ModelTerms(provider="echo"))
    stage.supervisor()
    config = {"provider": "anthropic", "model": "claude-x", "prompt": "p"}
    await stage.register({"id": "a", "type": "llm", "config": config}, output="outputs.a")
    done = await stage.run("w")
    assert done.output == "p"
    assert [spent.provider for _, spent in await told(stage, done.run_id) if spent.calls] == ["echo"]


@pytest.mark.parametrize(
    ("sample", "input", "output"),
    [
        ("relay_prompts", {"topic": "rain"}, {"write": "Write about Find facts about rain"}),
        ("sequence_prompts", {"topic": "rain"}, {"shape": {"items": ["found"]}}),
    ],
)
async def test_documents_that_were_written_for_others_run_unchanged(
    stage: Stage, sample: str, input: Any, output: Any
) -> None:
    """They ask their providers, here all of them echo."""
    steps = Steps()
    steps.tools.add(web_search, "web_search")
    stage.worker(steps, models=ModelTerms(provider="echo"))
    stage.supervisor()
    workflow, ir = compile_document(load_source((SAMPLES / f"{sample}.yaml").read_bytes()).value)
    await stage.client.register(workflow, ir)
    done = await stage.run(workflow.id, input)
    assert (done.status, done.output, done.error) == ("COMPLETED", output, None)


def web_search(query: str | None = None, limit: int = 1) -> dict[str, list[str]]:
    return {"items": ["found"][:limit]}


async def test_the_example_of_the_how_to_runs(stage: Stage) -> None:
    """Without a key, as the page says."""
    page = (SAMPLES.parent / "docs" / "how-to" / "call-models.md").read_text("utf-8")
    written = page.split("```yaml\n")[1].split("```")[0]
    stage.worker(models=ModelTerms(provider="echo"))
    stage.supervisor()
    workflow, ir = compile_document(load_source(written.encode()).value)
    await stage.client.register(workflow, ir)
    done = await stage.run(workflow.id, {"topic": "rain", "reader": "children"})
    assert done.output == {"publish": {"text": "Three sentences about rain.", "score": 1}}
