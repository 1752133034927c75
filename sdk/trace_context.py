"""Trace context: under which ids a run and its attempts are traced, W3C Trace Context. Pure.

The ids follow from those of the run, so that who calls a service, who exports spans, and who does either once more
after a crash all speak of the same ones, and nothing has to be kept.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

HEADER = "traceparent"
SAMPLED = 1
KNOWN_CHARS = 55
"""Of a header of the known version; a later one may have more behind them."""
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")


class Parent(NamedTuple):
    """What a caller has sent. ``is_sampled``: whether it records its own side."""

    trace_id: int
    span_id: int
    is_sampled: bool


def trace_id_of(run_id: str) -> int:
    """128 bits, not 0."""
    return _number(f"trace {run_id}", 16)


def run_span_of(run_id: str) -> int:
    """64 bits, not 0."""
    return _number(f"run {run_id}", 8)


def attempt_span_of(run_id: str, node: str, scope: str, attempt: int) -> int:
    """64 bits, not 0. ``scope``: as it stands in events."""
    return _number(f"attempt {run_id}/{node}/{scope}/{attempt}", 8)


def traceparent_of(run_id: str, node: str, scope: str, attempt: int) -> str:
    """Return the header with which an attempt calls others."""
    span = attempt_span_of(run_id, node, scope, attempt)
    return f"00-{trace_id_of(run_id):032x}-{span:016x}-{SAMPLED:02x}"


def read_traceparent(text: str) -> Parent | None:
    """Return what a caller has sent, None where that is none. Of a later version the known part is read."""
    found = _PARENT.match(text.strip())
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(span, 16):
        return None
    return Parent(int(trace, 16), int(span, 16), bool(int(flags, 16) & SAMPLED))


def known_part(text: str) -> str | None:
    """Return what of a caller's header is kept, None where it is none."""
    return None if read_traceparent(text) is None else text.strip()[:KNOWN_CHARS]


def _number(text: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest()) or 1
