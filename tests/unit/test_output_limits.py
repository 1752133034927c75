"""How many tokens a provider may make at most, by what a request says: a budget reserves no less."""

from __future__ import annotations

from typing import Any

import pytest

from courante.runner.models.request import ModelRequest, output_tokens_max
from courante.runner.models.responses import Responses


@pytest.mark.parametrize(
    ("extra", "most"),
    [
        ({}, 500),
        ({"max_tokens": 40}, 40),
        ({"max_completion_tokens": 40, "n": 3}, 120),
        ({"max_output_tokens": 90_000}, 90_000),
        ({"max_output_tokens": None}, None),
        ({"max_completion_tokens": "many"}, None),
    ],
)
def test_what_extra_says_counts(extra: dict[str, Any], most: int | None) -> None:
    request = ModelRequest(provider="openai", model="gpt-5-pro", max_tokens=500, extra=extra)
    assert output_tokens_max(request) == most


@pytest.mark.parametrize(
    "extra", [{}, {"max_tokens": 40}, {"max_completion_tokens": 700}, {"max_output_tokens": 9_000}]
)
def test_no_more_is_asked_for_than_is_reserved(extra: dict[str, Any]) -> None:
    """By the responses of OpenAI, which have a name of their own for it."""
    request = ModelRequest(provider="openai", model="gpt-5-pro", max_tokens=500, extra=extra)
    most = output_tokens_max(request)
    assert most is not None
    assert Responses().body(request)["max_output_tokens"] <= most
