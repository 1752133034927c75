"""Many submissions: how they are cut into commits."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.client.submitting import BATCH_FIRST, BATCH_MAX, batches_of
from courante.sdk.submissions.submissions import Submission


@given(st.integers(0, 5 * BATCH_MAX))
def test_what_fits_is_one_commit_and_more_begins_small(count: int) -> None:
    """Nothing is lost or moved; up to 1,000 are all or none; of more, a batch has up to twice the one before."""
    submissions = [Submission(workflow="w", input=number) for number in range(count)]
    batches = list(batches_of(submissions))
    assert [one for batch in batches for one in batch] == submissions
    sizes = [len(batch) for batch in batches]
    assert all(0 < size <= BATCH_MAX for size in sizes)
    if count <= BATCH_MAX:
        assert len(sizes) == (count > 0)
    else:
        assert sizes[0] == BATCH_FIRST
        assert all(after == min(BATCH_MAX, 2 * before) for before, after in pairwise(sizes[:-1]))
