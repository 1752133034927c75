"""What an attempt leaves to the next one fits into a heartbeat, and is shown to the model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.runner.models.repair import NOTHING_TOLD, Told, read_told, with_repair, write_told
from courante.runner.models.request import Message, ModelRequest
from courante.sdk.authoring.context import HEARTBEAT_BYTES_MAX

REQUEST = ModelRequest(provider="echo", model="m", messages=(Message(role="user", content="p"),))


@given(st.builds(Told, answer=st.text(), problems=st.lists(st.text(min_size=1), max_size=5).map(tuple)))
def test_what_is_small_comes_back(told: Told) -> None:
    """Answer and problems are as they were."""
    assert read_told(write_told(told)) == told


@pytest.mark.parametrize("text", ["x" * 100_000, "ü" * 100_000, "\0" * 100_000, '"' * 100_000])
def test_what_is_large_is_cut(text: str) -> None:
    """Whatever the answer holds, the details fit; a problem is told all the same."""
    content = write_told(Told(answer=text, problems=(text, text)))
    assert len(content) <= HEARTBEAT_BYTES_MAX
    assert read_told(content).problems


def test_the_model_sees_its_answer_and_what_is_wrong() -> None:
    """Behind the messages stand its own turn and one more of the user."""
    asked = with_repair(REQUEST, Told(answer="{}", problems=("answer: n is missing",)))
    assert [(each.role, each.content) for each in asked.messages[:2]] == [("user", "p"), ("assistant", "{}")]
    assert "- answer: n is missing\n" in str(asked.messages[2].content)
    assert with_repair(REQUEST, NOTHING_TOLD) is REQUEST


@pytest.mark.parametrize("details", [None, b"{}", b"[1]", b'{"answer": 1}', b"no"])
def test_details_of_others_are_nothing(details: bytes | None) -> None:
    """A handler may have reported anything in an earlier version of the workflow."""
    assert read_told(details) == NOTHING_TOLD
