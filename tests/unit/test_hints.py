"""Type hints of a step convert and check its input and output."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NewType, TypedDict

import msgspec
import pytest

from courante.sdk.authoring.context import Context
from courante.sdk.authoring.deferral import Deferred
from courante.sdk.authoring.steps import Step, Steps
from courante.sdk.outcomes.failures import classify
from courante.sdk.outcomes.step_context import StepError

if TYPE_CHECKING:
    from decimal import Decimal


class Item(msgspec.Struct):
    name: str
    price: Annotated[float, msgspec.Meta(ge=0)]


class Order(msgspec.Struct, forbid_unknown_fields=True):
    items: list[Item]


@dataclass
class Parcel:
    sent_at: datetime
    labels: set[str]


class Address(TypedDict):
    street: str


Number = NewType("Number", int)


def score(order: Order) -> float:
    return sum(item.price for item in order.items)


def pack(parcel: Parcel, context: Context) -> Parcel:
    del context
    return parcel


def move(address: Address) -> Address:
    return address


def count(number: Number) -> Number:
    return number


plain: Callable[..., Any] = eval("lambda value: value")  # noqa: S307 - a function without any hints
plain.__name__ = "plain"


def ask(question: str) -> Deferred | int | None:
    del question
    return None


def later(value: Late) -> Late:
    return value


class Late(msgspec.Struct):
    n: int


def unreadable(value: Decimal) -> int:
    return int(value)


def of(function: Callable[..., Any]) -> Step:
    steps = Steps()
    steps.add(function, function.__name__)
    found = steps.get(function.__name__)
    assert found is not None
    return found


def test_the_input_becomes_what_the_hint_says() -> None:
    """Structs, dataclasses, typed dictionaries, new types and plain ones."""
    assert of(score).hints.read(b'{"items": [{"name": "a", "price": 2}]}') == Order([Item("a", 2.0)])
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    assert of(pack).hints.read(b'{"sent_at": "2026-01-02T00:00:00Z", "labels": ["b", "a"]}') == Parcel(
        moment, {"a", "b"}
    )
    assert of(move).hints.read(b'{"street": "x"}') == {"street": "x"}
    assert of(count).hints.read(b"3") == 3
    assert of(later).hints.read(b'{"n": 1}') == Late(1)
    assert of(plain).hints.read(b'{"n": [1, null]}') == {"n": [1, None]}


@pytest.mark.parametrize(
    ("function", "content", "words"),
    [
        (score, b'{"items": [{"name": "a", "price": "2"}]}', "$.items[0].price: expected `float`, got `str`"),
        (score, b'{"items": [{"name": "a", "price": -1}]}', "$.items[0].price: expected `float` >= 0"),
        (score, b'{"items": [], "more": 1}', "$: object contains unknown field `more`"),
        (move, b"{}", "$: object missing required field `street`"),
        (count, b'"3"', "$: expected `int`, got `str`"),
    ],
)
def test_an_input_that_does_not_fit_names_the_field(function: Any, content: bytes, words: str) -> None:
    """And the step; no other try would help."""
    with pytest.raises(StepError) as raised:
        of(function).hints.read(content)
    assert raised.value.type == "INPUT_INVALID"
    assert str(raised.value).startswith(words)
    assert f"the input of {function.__name__!r}" in str(raised.value)
    assert classify(raised.value).is_final


def test_the_output_is_written_as_the_hint_says() -> None:
    """What is no JSON value by itself too, sets in order."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    assert of(pack).hints.write(Parcel(moment, {"b", "a"})) == b'{"sent_at":"2026-01-02T00:00:00Z","labels":["a","b"]}'
    assert of(score).hints.write(3) == b"3"
    assert of(ask).hints.write(None) == b"null"
    assert of(plain).hints.write(Item("a", 1.5)) == b'{"name":"a","price":1.5}'


@pytest.mark.parametrize(
    ("function", "value", "words"),
    [
        (score, "high", "$: expected `float`, got `str`, in the output of 'score'"),
        (move, {"street": 1}, "$.street: expected `str`, got `int`"),
        (score, math.nan, "nan is no JSON number"),
        (plain, {1, 2}, "set"),
        (score, object(), "object"),
    ],
)
def test_an_output_that_does_not_fit_names_the_field(function: Any, value: object, words: str) -> None:
    """Also one that is no JSON value. It is the step's own mistake, and is not tried again."""
    with pytest.raises(StepError) as raised:
        of(function).hints.write(value)
    assert raised.value.type == "OUTPUT_MISMATCH"
    assert words in str(raised.value)
    assert classify(raised.value).is_final


def test_a_hint_that_cannot_be_read_is_told() -> None:
    """One that exists for type checkers only."""
    with pytest.raises(
        StepError, match="step 'unreadable': the hint of 'value' cannot be used: name 'Decimal'"
    ) as raised:
        of(unreadable).hints.read(b"1")
    assert raised.value.type == "CONFIG_INVALID"


def test_classes_of_a_function_are_known_to_its_steps() -> None:
    """Where the decorator sees them."""
    from courante.sdk.authoring.steps import REGISTRY, step

    class Inner(msgspec.Struct):
        n: int

    @step("test_hints.inner")
    def inner(value: Inner) -> Inner:
        return value

    found = REGISTRY.get("test_hints.inner")
    assert found is not None
    assert inner(found.hints.read(b'{"n": 1}')) == Inner(1)


def test_what_a_step_takes_is_told_by_its_parameters() -> None:
    """Nothing, its input, its input and the context, or the context alone."""

    def nothing() -> None: ...
    def alone(context: Context) -> None: ...
    def turned(context: Context, value: int) -> None: ...

    functions: list[Callable[..., Any]] = [nothing, score, pack, alone]
    taken = [(of(each).takes_input, of(each).takes_context) for each in functions]
    assert taken == [(False, False), (True, False), (True, True), (False, True)]
    with pytest.raises(ValueError, match="the context comes behind the input"):
        of(turned)
