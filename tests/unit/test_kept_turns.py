"""What a provider wants back of a turn comes back as it was: thoughts, signatures, and the turns before them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from courante.runner.models.answer import ModelAnswer
from courante.runner.models.anthropic import Anthropic
from courante.runner.models.openai import OpenAi
from courante.runner.models.repair import Told, with_repair
from courante.runner.models.request import Message, ModelRequest, ToolCall
from courante.runner.models.wire import Connector
from courante.sdk.http.server_events import ServerEvent
from courante.sdk.spending.usage import Usage
from courante.sdk.step_error import StepError
from integration.wire import anthropic_answers, openai_answers

SHAPE = {"type": "object", "required": ["n"]}
ASKED = Message(role="user", content="How much tea?")
THOUGHT = {"type": "thinking", "thinking": "The shop knows.", "signature": "c2ln"}
HIDDEN = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
USED = {"type": "tool_use", "id": "c1", "name": "stock", "input": {"item": "tea"}}
BLOCKS: list[dict[str, Any]] = [THOUGHT, HIDDEN, {"type": "text", "text": "I look."}, USED]


def request(provider: str, **fields: Any) -> ModelRequest:
    return ModelRequest(provider=provider, model="m", messages=(ASKED,), prompt_turns=1, **fields)


def gone_on(asked: ModelRequest, answer: ModelAnswer) -> ModelRequest:
    """The request of the next turn, as an agent makes it."""
    said = Message(role="assistant", content=answer.text, tool_calls=answer.tool_calls, kept=answer.kept)
    result = Message(role="tool", content="3", tool_call_id="c1")
    return msgspec.structs.replace(asked, messages=(*asked.messages, said, result))


def streamed(connector: Connector, events: list[dict[str, Any]], asked: ModelRequest) -> ModelAnswer:
    stream = connector.stream()
    for event in events:
        stream.take(ServerEvent("", json.dumps(event)))
    assert stream.is_complete
    return stream.answer(asked)


def delta(index: int, **fields: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


BEGINNINGS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "", "signature": ""}, HIDDEN, {"type": "text", "text": ""}, {**USED, "input": {}}
]  # fmt: skip
CLAUDE_STREAM: list[dict[str, Any]] = [
    {"type": "message_start", "message": anthropic_answers.message(stop_reason=None)},
    *({"type": "content_block_start", "index": at, "content_block": each} for at, each in enumerate(BEGINNINGS)),
    delta(0, type="thinking_delta", thinking="The shop "),
    delta(0, type="thinking_delta", thinking="knows."),
    delta(0, type="signature_delta", signature="c2ln"),
    delta(2, type="text_delta", text="I look."),
    delta(3, type="input_json_delta", partial_json='{"item": '),
    delta(3, type="input_json_delta", partial_json='"tea"}'),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 10}},
    {"type": "message_stop"},
]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_what_claude_has_thought_comes_back_with_the_results(is_streamed: bool) -> None:
    """Every block as it came, in its place: without that, or changed, the provider refuses the next turn."""
    asked, connector = request("anthropic"), Anthropic()
    if is_streamed:
        answer = streamed(connector, CLAUDE_STREAM, asked)
    else:
        whole = anthropic_answers.message(*BLOCKS, stop_reason="tool_use")
        answer = connector.read(asked, json.dumps(whole).encode())
    assert answer.text == "I look."
    (call,) = answer.tool_calls
    assert (call.id, call.name, json.loads(call.arguments)) == ("c1", "stock", {"item": "tea"})
    turns = connector.body(gone_on(asked, answer))["messages"]
    assert turns[1] == {"role": "assistant", "content": BLOCKS}
    assert turns[2]["content"][0]["tool_use_id"] == "c1"


def test_texts_without_a_word_are_not_sent_again() -> None:
    """The provider gives such, and answers 400 where it gets them: blocks, and whole turns of the model."""
    asked, connector = request("anthropic", wants_json=True), Anthropic()
    whole = anthropic_answers.message(THOUGHT, {"type": "text", "text": " \n"}, USED, stop_reason="tool_use")
    answer = connector.read(asked, json.dumps(whole).encode())
    assert connector.body(gone_on(asked, answer))["messages"][1]["content"] == [THOUGHT, USED]
    silent = msgspec.structs.replace(asked, messages=(ASKED, Message(role="assistant", content="\n")))
    repaired = with_repair(silent, Told(problems=("it holds no JSON",)))
    assert [turn["role"] for turn in connector.body(repaired)["messages"]] == ["user", "user"]


@pytest.mark.parametrize(("connector", "provider"), [(Anthropic(), "anthropic"), (OpenAi(), "openai")])
@pytest.mark.parametrize("schema", [SHAPE, {"type": "array"}, None])
def test_turns_that_were_sent_stay_as_they_were(connector: Connector, provider: str, schema: Any) -> None:
    """What is wanted of JSON stands at the prompt: thoughts are bound to all that stood before them, as caches are."""
    asked = request(provider, wants_json=True, schema=schema, system="Be brief.")
    call = ToolCall(id="c1", name="stock", arguments="{}")
    answer = ModelAnswer(provider=provider, model="m", text="", usage=Usage(), tool_calls=(call,))
    first, second = connector.body(asked), connector.body(gone_on(asked, answer))
    before = len(first["messages"])
    assert second["messages"][:before] == first["messages"]
    assert second.get("system") == first.get("system")
    third = with_repair(gone_on(asked, answer), Told(problems=("no",)))
    assert connector.body(third)["messages"][:-1] == second["messages"]


FUNCTION = {"name": "stock", "arguments": "{}"}
SIGNED = {"google": {"thought_signature": "c2ln"}}
CALL = {"index": 0, "id": "c1", "type": "function", "function": FUNCTION, "extra_content": SIGNED}


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return openai_answers.chunk(delta, reason)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_what_other_servers_have_thought_comes_back_to_them(is_streamed: bool) -> None:
    """Those that speak OpenAI's format: Gemini signs its calls, others want their reasons back."""
    asked, connector = request("openai"), OpenAi()
    details = [{"type": "reasoning.text", "text": "The shop"}, {"type": "reasoning.text", "text": " knows."}]
    if is_streamed:
        pieces = [chunk({"reasoning_content": "The "}), chunk({"reasoning_content": "shop.", "content": ""})]
        pieces += [chunk({"reasoning_details": [each]}) for each in details]
        answer = streamed(connector, [*pieces, chunk({"tool_calls": [CALL]}), chunk({}, "tool_calls")], asked)
    else:
        said = {"reasoning_content": "The shop.", "reasoning_details": details, "tool_calls": [CALL]}
        whole = openai_answers.completion(None, finish_reason="tool_calls", **said)
        answer = connector.read(asked, json.dumps(whole).encode())
    said = connector.body(gone_on(asked, answer))["messages"][1]
    assert said["tool_calls"] == [{"id": "c1", "type": "function", "function": FUNCTION, "extra_content": SIGNED}]
    assert (said["reasoning_content"], said["reasoning_details"]) == ("The shop.", details)


def test_what_one_provider_has_said_is_not_sent_to_another() -> None:
    """A worker may send all calls to another one from now on."""
    asked = request("anthropic")
    answer = Anthropic().read(asked, json.dumps(anthropic_answers.message(*BLOCKS, stop_reason="tool_use")).encode())
    said = OpenAi().body(gone_on(asked, answer))["messages"][1]
    assert said.keys() == {"role", "content", "tool_calls"}
    assert said["content"] == "I look."


def test_calls_that_share_a_place_are_told_apart_by_their_ids() -> None:
    """There are servers that say index 0 of all, or none."""
    calls = [{"id": id, "function": {"name": name, "arguments": "{}"}} for id, name in (("a", "x"), ("b", "y"))]
    answer = streamed(OpenAi(), [chunk({"tool_calls": calls}), chunk({}, "tool_calls")], request("openai"))
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == [("a", "x", "{}"), ("b", "y", "{}")]


@pytest.mark.parametrize("block", [{"type": 1}, {"type": "text", "text": 1}, {"type": "tool_use", "id": []}])
def test_blocks_of_another_shape_are_no_answer(block: dict[str, Any]) -> None:
    with pytest.raises(StepError) as raised:
        Anthropic().read(request("anthropic"), json.dumps(anthropic_answers.message(block)).encode())
    assert raised.value.type == "OUTPUT_INVALID"
    with pytest.raises(StepError):
        Anthropic().stream().take(ServerEvent("", json.dumps({"type": "content_block_start", "content_block": block})))
