"""What people say with a command is what the run is given, also where it is a small thing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from courante.sdk.floor.commanding import value_of
from courante.sdk.stores.command_bodies import Body, encode_body
from courante.sdk.stores.commands import Command

NOW = datetime.now(UTC)
SMALL: list[Any] = [0, False, 0.0, "", [], {}, None]


def given(kind: str, body: Body) -> Any:
    value = value_of(Command(number=2, type=kind, body=encode_body(body), by=None, created_at=NOW))
    assert value is not None
    return msgspec.json.decode(value)


@pytest.mark.parametrize("value", SMALL, ids=repr)
def test_a_value_that_looks_like_nothing_is_not_left_out(value: Any) -> None:
    """Signals, forms of decisions, and outputs that are given from outside."""
    signal = given("signal", Body(name="go", data=value))
    output = given("complete", Body(step="a", attempt=1, output=value))["output"]
    form = given("approve", Body(step="a", data=value))["data"]
    assert [repr(each) for each in (signal, output, form)] == [repr(value)] * 3


def test_what_is_empty_takes_no_room() -> None:
    """It comes back as it was all the same."""
    assert encode_body(Body()) == b"{}"
    assert encode_body(Body(name="go", is_asked=True)) == b'{"is_asked":true,"name":"go"}'
