"""Ids of traces follow from the run's, and what callers send is read as W3C Trace Context says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.trace_context import (
    Parent,
    attempt_span_of,
    read_traceparent,
    run_span_of,
    trace_id_of,
    traceparent_of,
)

NAMES = st.text(max_size=8)


@given(NAMES, NAMES, NAMES, st.integers(1, 99))
def test_what_is_sent_can_be_read(run_id: str, node: str, scope: str, attempt: int) -> None:
    """It names the run's trace and the attempt's span, and is sampled."""
    found = read_traceparent(traceparent_of(run_id, node, scope, attempt))
    assert found == Parent(trace_id_of(run_id), attempt_span_of(run_id, node, scope, attempt), True)
    assert attempt_span_of(run_id, node, scope, attempt) != run_span_of(run_id)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing a caller sends is an error."""
    found = read_traceparent(text)
    assert found is None or (0 < found.trace_id < 2**128 and 0 < found.span_id < 2**64)


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"cc-{TRACE}-{SPAN}-03-more", True),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        ("", None),
    ],
)
def test_the_cases_of_the_specification(text: str, is_sampled: bool | None) -> None:
    """Later versions are read as far as they are known; zeros and the version ff are nothing."""
    found = read_traceparent(text)
    assert found == (None if is_sampled is None else Parent(int(TRACE, 16), int(SPAN, 16), is_sampled))
