"""A finding: one promise that does not hold."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """``oracle``: O1 to O10 of the harness, or VERIFY. ``run``: empty where it is about no single run."""

    oracle: str
    run: str
    what: str
