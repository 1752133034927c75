"""Tallies: a sum over executions that does not depend on their order, so that many can be compared in no memory."""

from __future__ import annotations

import hashlib

from ..sdk.stores.runs import StepRow
from .steps import StepKey, StepState

SUM_BYTES = 24


class Tally:
    """Of executions, each with status, reason and where its output is. Two that are equal count the same ones."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0

    def add(self, key: StepKey, state: StepState) -> None:
        self._add(*key, state.status, state.reason, state.output_seq)

    def add_row(self, row: StepRow) -> None:
        self._add(row.node, row.scope, row.attempt, str(row.status), row.reason or "", row.output_seq)

    def _add(self, node: str, scope: str, attempt: int, status: str, reason: str, output_seq: int | None) -> None:
        said = "\x00".join((node, scope, str(attempt), status, reason, str(output_seq))).encode()
        self.count += 1
        self.sum += int.from_bytes(hashlib.blake2b(said, digest_size=SUM_BYTES).digest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tally) and (self.count, self.sum) == (other.count, other.sum)

    __hash__ = None  # type: ignore[assignment]  # it changes
