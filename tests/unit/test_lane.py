"""What a lane sends with one call is bounded by what the call writes."""

from __future__ import annotations

from collections import deque

import pytest

from courante.runner.lane import WRITES_MAX, next_batch
from courante.runner.transition import Transition


@pytest.mark.parametrize(
    ("writes", "batches"),
    [
        ([], []),
        ([1, 2, 3], [3]),
        ([WRITES_MAX - 1, 1, 1], [2, 1]),
        ([WRITES_MAX - 1, 2, WRITES_MAX - 2], [1, 2]),
        ([3 * WRITES_MAX, 1], [1, 1]),
        ([1, 3 * WRITES_MAX, 1], [1, 1, 1]),
    ],
)
def test_a_call_writes_no_more_than_its_bound(writes: list[int], batches: list[int]) -> None:
    """In the order in which they finished; one that alone has more goes alone."""
    finished = deque(Transition([str(number)], count) for number, count in enumerate(writes))
    found: list[list[Transition]] = []
    while finished:
        found.append(next_batch(finished))
    assert [len(batch) for batch in found] == batches
    assert [one.words for batch in found for one in batch] == [[str(number)] for number in range(len(writes))]
