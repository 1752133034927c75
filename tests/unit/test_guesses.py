"""Guesses: what users of other systems write, and what they are told to write here."""

from __future__ import annotations

from typing import Any

import pytest

from courante.compiler.guesses import JOIN_GUESSES, NODE_GUESSES, ROOT_GUESSES, TYPE_GUESSES
from courante.compiler.native import ROOT_FIELDS
from courante.compiler.node_fields import JOIN_WORDS, NODE_FIELDS
from courante.compiler.node_types import NODE_TYPES
from courante.compiler.normalize import normalize

Fields = dict[str, Any]
AIRFLOW: Fields = {"task_id": "a", "type": "BashOperator", "retries": 3, "trigger_rule": "all_done", "pool": "db"}
ACTIONS: Fields = {
    "id": "a",
    "type": "run",
    "needs": "b",
    "if": "input.x",
    "run": "make",
    "uses": "x@v1",
    "env": {"A": 1},
}
STATES: Fields = {"id": "a", "Type": "Task", "Next": "b", "Resource": "arn:x", "Catch": [], "TimeoutSeconds": 3}
PREFECT: Fields = {"id": "a", "type": "noop", "retry_delay_seconds": 3, "cache_policy": "INPUTS", "cache": True}
TEMPORAL: Fields = {"id": "a", "type": "activity", "startToCloseTimeout": "3s", "retryPolicy": {}, "taskQueue": "q"}


def hints(node: Fields, **more: Any) -> dict[str, str]:
    """What is said about each field of a node, or of the root, by its name."""
    _, found = normalize({"courante": 1, "id": "w", "nodes": [node, {"id": "b", "type": "noop"}], **more})
    places = dict.fromkeys(str(each.path[-1]) for each in found if each.path)
    return {place: "; ".join(each.hint for each in found if each.path[-1:] == (place,)) for place in places}


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (
            AIRFLOW,
            {"task_id": "write id", "type": "there is no shell", "retries": "max_retries: 3", "pool": "concurrency"},
        ),
        (
            ACTIONS,
            {"needs": "depends_on", "if": "write when", "run": "there is no shell", "uses": "@step", "env": "input"},
        ),
        (STATES, {"Type": "write type", "Next": "depends_on", "Catch": "on_error", "TimeoutSeconds": "timeout: 30s"}),
        (
            PREFECT,
            {"retry_delay_seconds": "base: 10s", "cache_policy": "ttl: 1d", "cache": "cache: {scope: global, ttl: 1d}"},
        ),
        (
            TEMPORAL,
            {"startToCloseTimeout": "timeout", "retryPolicy": "max_attempts", "taskQueue": "queue", "type": "@step"},
        ),
    ],
)
def test_words_of_other_systems_are_told_in_ours(node: Fields, told: dict[str, str]) -> None:
    """Each of them, all at once."""
    found = hints(node)
    for field, part in told.items():
        assert part in found[field], (field, found[field])


def test_values_of_other_systems_are_told_in_ours() -> None:
    assert hints({"id": "a", "type": "noop", "retry": 3})["retry"] == "write retry: {max_attempts: 3}"
    assert hints({"id": "a", "type": "noop", "join": "all_success"})["join"] == "write every"
    assert (
        hints({"id": "a", "type": "noop", "depends_on": {"b": "success"}})["depends_on"] == "write depends_on: [a, b]"
    )
    assert hints({"id": "a", "type": "noop", "join": 2})["join"] == "write {at_least: n}"
    assert hints({"id": "a", "type": "noop"}, jobs={})["jobs"].startswith("write nodes:")


def test_they_are_told_in_other_dialects_too() -> None:
    """With what the document has to begin with for them."""
    _, found = normalize({"name": "x", "steps": [{"id": "a", "run": "make"}]})
    (told,) = [each.hint for each in found if each.path == ("steps", 0, "run")]
    assert told.startswith("in a document that begins with 'courante: 1': there is no shell")


def test_what_is_meant_is_judged() -> None:
    """The value of a word that is one of ours under another name."""
    assert hints({"id": "a", "type": "noop", "needs": "bb", "if": " ", "retries": -1}).keys() == {
        "needs",
        "if",
        "retries",
    }
    _, found = normalize({"courante": 1, "id": "w", "nodes": [{"id": "a", "type": "noop", "needs": "bb", "if": " "}]})
    assert [(each.code, each.path[-1]) for each in found] == [
        ("unknown_field", "needs"), ("unknown_field", "if"), ("empty_expression", "if"), ("unknown_node", "needs"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("guesses", "known"),
    [(NODE_GUESSES, NODE_FIELDS), (ROOT_GUESSES, ROOT_FIELDS), (TYPE_GUESSES, NODE_TYPES), (JOIN_GUESSES, JOIN_WORDS)],
)
def test_no_guess_is_a_word_of_ours(guesses: dict[str, Any], known: tuple[str, ...]) -> None:
    """And what is meant is one."""
    assert not guesses.keys() & set(known)
    assert {each.meant for each in guesses.values()} <= {"", *known}
