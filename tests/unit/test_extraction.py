"""Extraction finds the JSON in what a model has said, whatever stands around it, and never raises."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from courante.runner.models.extraction import extract_json, found_values

CALM = settings(max_examples=50)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4)
)
CONTAINERS = st.lists(VALUES, max_size=4) | st.dictionaries(st.text(), VALUES, max_size=4)
AROUND = st.text(st.sampled_from('{}[]",:\\`json \n01ae') | st.characters(), max_size=60)
encode = msgspec.json.Encoder(order="deterministic").encode


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        (" 7 ", 7),
        ('"said"', "said"),
        ("\ufeff[1]", [1]),
        ('Sure!\n```json\n{"a": 1}\n```\nDone.', {"a": 1}),
        ("```\n[1]\n```", [1]),
        ('```json {"a": 1}```', {"a": 1}),
        ('no {this} but {"a": {"b": "}"}} and [2]', {"a": {"b": "}"}}),
        ("As in [1]: ```json\n[2]\n```", [2]),
        ('{"a": "```"} is it', {"a": "```"}),
        ('```json\n{"a": 1', None),
        ("[NaN]", None),
        ("", None),
        ("nothing", None),
    ],
)
def test_places(text: str, value: Any) -> None:
    """The whole text, else a fenced block, else the first object or list."""
    found = extract_json(text)
    assert (found.json, found.is_valid) == (value, value is not None)


@CALM
@given(before=AROUND, value=CONTAINERS, after=AROUND)
def test_json_is_found_in_any_surroundings(before: str, value: Any, after: str) -> None:
    """What is wanted is found wherever it stands: before, after or inside of other brackets, quotes and fences."""
    written = encode(value)
    found = extract_json(before + written.decode() + after, lambda each: encode(each) == written)
    assert found.is_valid
    assert encode(found.json) == written


@CALM
@given(before=st.text(st.characters(exclude_characters="{[`")), value=CONTAINERS, after=AROUND)
def test_the_first_is_taken(before: str, value: Any, after: str) -> None:
    """Without another bracket before it, and without fences, the first one is it."""
    text = f"{before}x{encode(value).decode()}{after.replace('`', '')}"
    assert encode(extract_json(text).json) == encode(value)


@CALM
@given(st.text(st.sampled_from('{}[]",:\\`\n tfn01.-e') | st.characters(codec=None), max_size=200))
def test_it_never_raises(text: str) -> None:
    """Whatever the text is, also with halves of surrogate pairs."""
    found = extract_json(text, lambda _value: False)
    assert not found.is_valid
    assert found.is_found == bool(list(found_values(text)))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, '["' * 50_000, "```" * 100_000, "[1," * 50_000])
def test_brackets_without_end_are_given_up(text: str) -> None:
    """What would take the square of its length is bounded: a second is far beyond what it takes."""
    begun = time.process_time()
    assert not extract_json(text).is_found
    assert time.process_time() - begun < 20
