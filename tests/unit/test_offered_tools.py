"""Tools as a model is told of them, and how the provider echo asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from courante.runner.agents.offered import OfferedTools, arguments_of
from courante.runner.models.echo_script import read_script
from courante.runner.models.request import Message, ModelRequest, ToolCall, ToolOffer
from courante.runner.tools.python_tool import PythonTool
from courante.sdk.authoring.tools import ToolSet
from courante.sdk.outcomes.step_context import StepError

OFFER = ToolOffer(name="search", schema={"type": "object"})


def look(query: str) -> str:
    """Look around."""
    return query


def offered(*names: str) -> OfferedTools:
    tools = ToolSet()
    for name in names:
        tools.add(look, name)
    found = [tools.get(name) for name in names]
    return OfferedTools([PythonTool(each) for each in found if each is not None])


def call(name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(id="1", name=name, arguments=arguments)


@pytest.mark.anyio
async def test_models_are_told_names_that_every_provider_takes() -> None:
    """Letters, digits, ``_`` and ``-``, at most 64, each once; both names lead to the tool."""
    long = "a" * 100
    tools = offered("shop.look", "shop_look", long, f"{long}b")
    names = [each.name for each in await tools.offers()]
    assert names == ["shop_look", "shop_look_2", "a" * 64, f"{'a' * 62}_2"]
    asked = [tools.asked(call(name)) for name in ("shop_look", "shop_look_2", "shop.look", "none")]
    assert [each and each.name for each in asked] == ["shop.look", "shop_look", "shop.look", None]
    (first, *_) = await tools.offers()
    assert (first.description, first.schema["required"]) == ("Look around.", ["query"])


@pytest.mark.parametrize("text", ["", "null"])
def test_no_arguments_are_none(text: str) -> None:
    """Models write it in several ways."""
    assert arguments_of(call("a", text)) == {}


@pytest.mark.parametrize("text", ["{", "[1]", "tea", '{"a": 1} {"b": 2}'])
def test_arguments_that_are_no_object_are_refused(text: str) -> None:
    """With a code that says whose fault it is."""
    with pytest.raises(StepError) as caught:
        arguments_of(call("a", text))
    assert caught.value.type == "INPUT_INVALID"


def request(*messages: Message, echo: Any = None, tools: tuple[ToolOffer, ...] = (OFFER,)) -> ModelRequest:
    asked = Message(role="user", content='Look.\ncall: search {"q": 1}\ncall: wait')
    return ModelRequest(provider="echo", model="", messages=(asked, *messages), tools=tools, echo=echo)


ANSWER = Message(role="assistant", content="", tool_calls=(call("search"),))
RESULT = Message(role="tool", content="found", tool_call_id="1")


def test_echo_follows_its_script() -> None:
    """Turn by turn, the last item for all that follow; ids of calls differ."""
    script = [{"tools": [{"name": "search", "arguments": {"q": 1}}, {"name": "wait"}], "text": "I look."}, {"x": 1}]
    first = read_script(request(echo=script))
    assert first is not None
    assert first.text == "I look."
    assert [(each.id, each.name, each.arguments) for each in first.calls] == [
        ("call_1_0", "search", '{"q":1}'),
        ("call_1_1", "wait", "{}"),
    ]
    for turns in ((ANSWER, RESULT), (ANSWER, RESULT, ANSWER, RESULT)):
        later = read_script(request(*turns, echo=script))
        assert later is not None
        assert (later.text, later.calls) == ('{"x":1}', ())


def test_echo_without_a_script_calls_what_the_prompt_says() -> None:
    """And answers with the results."""
    first = read_script(request())
    assert first is not None
    assert [(each.name, each.arguments) for each in first.calls] == [("search", '{"q": 1}'), ("wait", "{}")]
    second = read_script(request(ANSWER, RESULT))
    assert second is not None
    assert (second.text, second.calls) == ("found", ())


def test_echo_without_tools_has_no_script() -> None:
    """A list is a value like any other then."""
    assert read_script(request(echo=["a"], tools=())) is None
