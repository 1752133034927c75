"""Names from outside: whatever they look like, the keys of a partition stay in one slot, and nobody else's are met."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from courante.compiler.diagnostics import has_errors
from courante.compiler.normalize import normalize
from courante.sdk.ids import RUN_ID, new_run_id
from courante.sdk.keys import Keys

HOSTILE = [
    "",
    "{}",
    "a{b}c",
    "}{",
    "a:b",
    "a b",
    "a\nb",
    "a\r\nDEL x",
    "../a",
    "a|b",
    "a\x00b",
    "ä",
    "a\u200bb",
    "x" * 129,
]
LONGEST = "x" * 128


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_name_that_could_be_read_otherwise_is_refused(name: str) -> None:
    """F36: as the name of an environment, a workflow, a queue, a node or a signal, and as the id of a run."""
    with pytest.raises(ValueError, match="no name of an environment"):
        Keys(name)
    assert not RUN_ID.fullmatch(name)
    node = {"id": "a", "type": "noop"}
    signal = {"id": "s", "type": "signal", "config": {"name": name}}
    for fields in (
        {"id": name, "nodes": [node]},
        {"id": "w", "nodes": [{**node, "queue": name}]},
        {"id": "w", "nodes": [{**node, "id": name}]},
        {"id": "w", "nodes": [{**node, "mutex": name}]},
        {"id": "w", "nodes": [signal]},
    ):
        assert has_errors(normalize({"courante": 1, **fields})[1]), fields


def test_all_keys_of_a_partition_are_in_one_slot() -> None:
    """F36: the first braces of every key are the engine's own, with the longest names as well."""
    keys = Keys("e" * 64).partition(17)
    names = [
        keys.meta,
        keys.outbox,
        keys.run(new_run_id()),
        keys.run(LONGEST),
        keys.queue(f"{'q' * 64}:high"),
        keys.worker(f"{LONGEST}-1-abc"),
        keys.run("a{b}c"),
    ]
    assert {key_slot(name.encode()) for name in names} == {key_slot(b"17")}


def test_the_longest_names_are_taken() -> None:
    """F36: 128 characters for a workflow and its nodes, 64 for a queue."""
    nodes = [
        {"id": LONGEST, "type": "noop", "queue": "q" * 64},
        {"id": "s", "type": "signal", "depends_on": LONGEST, "config": {"name": LONGEST}},
    ]
    workflow, found = normalize({"courante": 1, "id": LONGEST, "nodes": nodes})
    assert not has_errors(found)
    assert workflow is not None
    assert workflow.id == LONGEST
