"""A tool in Python says by its hints what it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.authoring.context import Context
from courante.sdk.authoring.steps import Steps
from courante.sdk.authoring.tools import Tool, ToolSet
from courante.sdk.outcomes.step_context import StepError
from courante.sdk.schema_checks import SchemaChecks


class Place(msgspec.Struct):
    city: str


def search(query: str, limit: int = 10, *, near: list[Place] | None = None, context: Context) -> list[str]:
    """Search the web.

    Newest first.
    """
    del context
    return [f"{query}:{limit}:{near}"]


def weigh(grams: Annotated[float, msgspec.Meta(ge=0, description="In air.")], notes: list[str] = []) -> float:  # noqa: B006
    return grams + len(notes)


def made(function: Callable[..., Any], description: str = "") -> Tool:
    tools = ToolSet()
    tools.add(function, function.__name__, description=description)
    tool = tools.get(function.__name__)
    assert tool is not None
    return tool


def test_arguments_are_read_by_name_with_their_types() -> None:
    """And what is left out has its default; the context is no argument."""
    tool = made(search)
    read = tool.arguments.read(b'{"query": "tea", "near": [{"city": "Graz"}]}')
    assert read == {"query": "tea", "limit": 10, "near": [Place("Graz")]}
    assert tool.context == "context"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b'{"query": 1}', "$.query: expected `str`, got `int`, in the arguments of 'search'"),
        (b'{"limit": 1}', "$: object missing required field `query`"),
        (b'{"query": "a", "max": 1}', "$: object contains unknown field `max`"),
        (b'["tea"]', "$: expected `object`, got `array`"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_place(given: bytes, said: str) -> None:
    """As the input of a step is, and never tried again."""
    with pytest.raises(StepError) as caught:
        made(search).arguments.read(given)
    assert caught.value.type == "INPUT_INVALID"
    assert str(caught.value).startswith(said)


def test_models_are_told_of_the_arguments_by_a_schema() -> None:
    """Types, defaults, limits and descriptions come from the hints; nothing else may be given."""
    assert made(search).arguments.schema() == {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "limit": {"type": "integer", "default": 10},
            "near": {
                "anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Place"}}, {"type": "null"}],
                "default": None,
            },
        },
        "required": ["query"],
        "additionalProperties": False,
        "$defs": {
            "Place": {
                "title": "Place",
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            }
        },
    }
    assert made(weigh).arguments.schema()["properties"]["grams"] == {
        "type": "number",
        "minimum": 0,
        "description": "In air.",
    }


def test_a_tool_is_described_by_its_docstring_unless_it_says_otherwise() -> None:
    """Models are told this."""
    assert made(search).description == "Search the web.\n\nNewest first."
    assert made(search, description="Looks around.").description == "Looks around."


def test_a_default_is_not_shared_between_calls() -> None:
    """A tool may change the list that it was given."""
    arguments = made(weigh).arguments
    arguments.read(b'{"grams": 1}')["notes"].append("wet")
    assert arguments.read(b'{"grams": 1}')["notes"] == []


@given(st.dictionaries(st.sampled_from(["query", "limit", "near", "max"]), st.none() | st.integers() | st.text()))
def test_what_the_schema_allows_the_tool_takes(arguments: dict[str, Any]) -> None:
    """And the other way round: a model that keeps to it is never refused."""
    tool = made(search)
    fits = not SchemaChecks().problems("x", tool.arguments.schema(), arguments, "arguments")
    try:
        tool.arguments.read(msgspec.json.encode(arguments))
    except StepError:
        assert not fits
    else:
        assert fits


def positional(query: str, /) -> str:
    return query


def anything(**named: Any) -> int:
    return len(named)


def twice(one: Context, two: Context) -> None:
    del one, two


@pytest.mark.parametrize(
    ("function", "said"), [(positional, "query"), (anything, "named"), (twice, "both the context")]
)
def test_a_tool_takes_its_arguments_by_name(function: Callable[..., Any], said: str) -> None:
    """What nobody could give it is refused when it is registered."""
    with pytest.raises(ValueError, match=said):
        ToolSet().add(function, "x")


@pytest.mark.parametrize("name", ["", "2tea", "a b", "a/b", "x" * 129])
def test_names_of_tools_have_one_pattern(name: str) -> None:
    """They stand in documents, in files and in requests."""
    with pytest.raises(ValueError, match="no name of a tool"):
        ToolSet().add(search, name)


def test_two_tools_cannot_share_a_name() -> None:
    """The same function, imported again, may."""
    tools = ToolSet()
    tools.add(search, "search")
    tools.add(search, "search")
    with pytest.raises(ValueError, match="two tools are named 'search'"):
        tools.add(weigh, "search")


def test_a_worker_announces_its_tools_apart_from_its_steps() -> None:
    """A step and a tool may have one name."""
    steps = Steps()
    steps.add(weigh, "weigh")
    steps.tools.add(weigh, "weigh")
    assert steps.handlers() == ["weigh", "tool:weigh"]
