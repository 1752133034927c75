"""Retrying: whether a failed attempt is followed by another, and when. Pure.

The k-th failed try waits ``min(max, base * factor^(k-1))``, times a jitter from 0.5 to 1, and never less than what the
other side asked for by Retry-After. ``max_attempts`` counts every try (rows S0-148 to S0-153, C15 and C49).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ...compiler.workflow import Retry
from .failures import FATAL, Failure

Reason: TypeAlias = Literal["fatal", "not_listed", "attempts_spent", "budget_spent"]


@dataclass(frozen=True, slots=True)
class Again:
    """Another attempt follows after ``delay_ms``."""

    delay_ms: int


@dataclass(frozen=True, slots=True)
class GivesUp:
    """The node has failed for good.

    ``fatal``: another try would not help. ``not_listed``: ``retry.on`` names other failures. ``attempts_spent``,
    ``budget_spent``: of the node, of the run.
    """

    reason: Reason
    delay_ms: Final = 0


Decision: TypeAlias = Again | GivesUp


def next_attempt(
    policy: Retry, failure: Failure, attempt: int, draw: float, *, retries_left: int | None = None
) -> Decision:
    """Return what follows the failure of try number ``attempt``, which counts from 1.

    draw: from 0 (included) to 1, moves the delay inside its jitter: ``draw_of`` makes it.
    retries_left: of the run's budget, None where it has none.
    """
    if failure.is_final or (failure.kind == FATAL and not policy.on):
        return GivesUp("fatal")
    if policy.on and not failure.is_meant_by(policy.on):
        return GivesUp("not_listed")
    if attempt >= policy.max_attempts:
        return GivesUp("attempts_spent")
    if retries_left is not None and retries_left <= 0:
        return GivesUp("budget_spent")
    return Again(max(backoff_ms(policy, attempt, draw), failure.retry_after_ms or 0))


def backoff_ms(policy: Retry, attempt: int, draw: float) -> int:
    """Return the delay after the failure of try number ``attempt``: from half its bound, rounded up, to its bound."""
    bound_ms = bound_of_ms(policy, attempt)
    if not policy.jitter:
        return bound_ms
    least_ms = (bound_ms + 1) // 2
    return min(bound_ms, least_ms + int(draw * (bound_ms - least_ms + 1)))


def bound_of_ms(policy: Retry, attempt: int) -> int:
    """Return the longest delay after try number ``attempt``. Never falls from one try to the next."""
    if not policy.base_ms:
        return 0
    try:
        grown_ms = policy.base_ms * policy.factor ** (attempt - 1)
    except OverflowError:
        return policy.max_ms
    return min(policy.max_ms, round(min(grown_ms, float(policy.max_ms))))


def draw_of(run_id: str, token_key: str, attempt: int) -> float:
    """Return a number from 0 to 1 that looks random and is the same for the same attempt, in a simulation too.

    Run ids are random, so that the delays of many runs that failed together spread.
    """
    seed = f"{run_id}|{token_key}|{attempt}".encode()
    return (int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest()) >> 11) / 2**53
