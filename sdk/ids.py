"""Ids: ``run_`` and a ULID (github.com/ulid/spec): unique, safe in URLs, sortable by time."""

from __future__ import annotations

import os
import re
import time
from typing import NewType

RunId = NewType("RunId", str)
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""What a run id from outside may look like: it becomes part of keys."""


_PAIRS = [high + low for high in ALPHABET for low in ALPHABET]


def new_ulid() -> str:
    """Return 26 characters: 48 bits of time in ms, 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])


def new_run_id() -> RunId:
    return RunId(f"run_{new_ulid()}")
