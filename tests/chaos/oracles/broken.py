"""Why a run is not followed to its end."""

from __future__ import annotations


class Broken(Exception):
    """The log says what the rules do not allow."""

    def __init__(self, oracle: str, what: str) -> None:
        super().__init__(what)
        self.oracle = oracle


class GaveUp(Exception):
    """The run has something in it that the walk does not follow."""
