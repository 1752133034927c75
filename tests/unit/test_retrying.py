"""Retries: rows S0-148 to S0-153 and S3-70 to S3-73, conflicts C15 and C49."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from courante.compiler.durations import format_duration
from courante.compiler.limits import DURATION_MS_MAX
from courante.compiler.node_fields import ATTEMPTS_MAX
from courante.compiler.normalize import normalize
from courante.compiler.workflow import Retry
from courante.sdk.outcomes.failures import FINAL, Failure, classify
from courante.sdk.outcomes.retrying import Again, GivesUp, backoff_ms, bound_of_ms, draw_of, next_attempt
from courante.sdk.user_errors import FatalError, HttpError

PASSING = classify(ConnectionError("no"))
REFUSED = classify(HttpError(401))
STEADY = Retry(jitter=False, max_attempts=100)

times_ms = st.integers(0, DURATION_MS_MAX)


@st.composite
def drawn_policies(draw: st.DrawFn) -> Retry:
    """Any policy that a document can ask for: its maximum is not below its base."""
    base_ms = draw(times_ms)
    return Retry(
        base_ms=base_ms,
        max_ms=draw(st.integers(base_ms, DURATION_MS_MAX)),
        factor=draw(st.floats(1, 100)),
        jitter=draw(st.booleans()),
        max_attempts=draw(st.integers(1, ATTEMPTS_MAX)),
    )


policies = drawn_policies()
attempts = st.integers(1, ATTEMPTS_MAX)
draws = st.floats(0, 1, exclude_max=True)


def test_the_table_of_the_seeds_is_the_upper_bound() -> None:
    """1, 2, 4 and 8 seconds after the first four tries, 60 s at most (S0-151, C49)."""
    assert [bound_of_ms(STEADY, k) for k in range(1, 9)] == [
        1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000,
    ]  # fmt: skip
    assert [next_attempt(STEADY, PASSING, k, 0.9) for k in (1, 2)] == [Again(1_000), Again(2_000)]


def test_three_tries_are_made_unless_the_document_says_otherwise() -> None:
    """``max_attempts`` counts every try; ``max_retries`` does not count the first (S0-152, C15)."""
    document = {"courante": 1, "id": "w", "nodes": [{"id": "a", "type": "noop", "max_retries": 3}]}
    workflow, _ = normalize(document)
    assert workflow is not None
    for policy, tries in ((Retry(), 3), (workflow.nodes[0].retry, 4)):
        made = [next_attempt(policy, PASSING, attempt, 0.5) for attempt in range(1, tries + 1)]
        assert [isinstance(each, Again) for each in made] == [True] * (tries - 1) + [False]
        assert made[-1] == GivesUp("attempts_spent")


def test_what_is_fatal_is_not_tried_again_and_waits_for_nothing() -> None:
    """401, bad input and a FatalError end the node at its first try, with a delay of 0 (S0-150, S0-153)."""
    for failure in (FINAL, REFUSED, classify(FatalError("no"))):
        decision = next_attempt(Retry(), failure, 1, 0.5)
        assert decision == GivesUp("fatal")
        assert decision.delay_ms == 0


def test_a_document_may_name_the_failures_that_are_tried_again() -> None:
    """``on`` takes the place of the defaults, but what is final stays so (S3-71, S3-73)."""
    only_busy = Retry(on=("429", "5xx"))
    assert next_attempt(only_busy, PASSING, 1, 0.5) == GivesUp("not_listed")
    assert isinstance(next_attempt(only_busy, classify(HttpError(503)), 1, 0.5), Again)
    assert isinstance(next_attempt(Retry(on=("401",)), REFUSED, 1, 0.5), Again)
    assert next_attempt(Retry(on=("network",)), REFUSED, 1, 0.5) == GivesUp("not_listed")
    assert next_attempt(Retry(on=("FatalError", "error", "Exception")), FINAL, 1, 0.5) == GivesUp("fatal")


def test_a_budget_of_the_run_ends_retries_of_all_its_nodes() -> None:
    """With nothing left of it a node gives up, however many tries it has (S3-72)."""
    assert next_attempt(STEADY, PASSING, 1, 0.5, retries_left=1) == Again(1_000)
    assert next_attempt(STEADY, PASSING, 1, 0.5, retries_left=0) == GivesUp("budget_spent")


def test_the_other_side_is_given_the_time_it_asked_for() -> None:
    """The longer of backoff and Retry-After counts, without jitter, also beyond the policy's maximum."""
    asked = classify(HttpError(429, retry_after=90))
    assert next_attempt(Retry(), asked, 1, 0.1) == Again(90_000)
    assert next_attempt(STEADY, classify(HttpError(429, retry_after=1.5)), 2, 0.1) == Again(2_000)


def test_nothing_overflows() -> None:
    """Try 1,000 with a factor of 100 waits for the maximum, and without a base for nothing."""
    for base_ms in (1, 1_000, DURATION_MS_MAX):
        steep = Retry(base_ms=base_ms, factor=100, max_ms=DURATION_MS_MAX, max_attempts=1_000, jitter=False)
        assert bound_of_ms(steep, 999) == DURATION_MS_MAX
    assert bound_of_ms(Retry(base_ms=0, factor=100), 1_000) == 0


@given(policies, attempts)
def test_the_bound_grows_to_the_maximum_and_not_beyond(policy: Retry, attempt: int) -> None:
    """From the base at the first try, never less after a later one, never more than ``max``."""
    assert bound_of_ms(policy, 1) == policy.base_ms
    assert bound_of_ms(policy, attempt) <= bound_of_ms(policy, attempt + 1) <= policy.max_ms


@given(policies, attempts, draws)
def test_jitter_stays_between_half_the_bound_and_the_bound(policy: Retry, attempt: int, draw: float) -> None:
    """The delay is a whole number of ms in [0.5, 1.0] of the bound; exactly the bound without jitter."""
    bound_ms = bound_of_ms(policy, attempt)
    delay_ms = backoff_ms(policy, attempt, draw)
    assert bound_ms <= 2 * delay_ms <= 2 * bound_ms
    if not policy.jitter:
        assert delay_ms == bound_ms


@given(st.integers(1, 1_000_000), st.data())
def test_jitter_reaches_both_ends(base_ms: int, data: st.DataObject) -> None:
    """The smallest draw gives half the bound, the largest the bound, and more is never less."""
    policy = Retry(base_ms=base_ms, max_ms=base_ms)
    assert backoff_ms(policy, 1, 0.0) == (base_ms + 1) // 2
    assert backoff_ms(policy, 1, 1 - 2**-53) == base_ms
    low, high = sorted((data.draw(draws), data.draw(draws)))
    assert backoff_ms(policy, 1, low) <= backoff_ms(policy, 1, high)


failures = st.builds(
    Failure,
    kind=st.sampled_from(["retryable", "fatal"]),
    name=st.just("error"),
    words=st.just((frozenset({"error"}),)),
    is_final=st.booleans(),
    retry_after_ms=st.none() | st.integers(1, 3_600_000),
)


@given(policies, failures, attempts, draws)
def test_no_try_is_made_beyond_the_last(policy: Retry, failure: Failure, attempt: int, draw: float) -> None:
    """At ``max_attempts`` and after it nobody goes on, and whoever goes on was not fatal and waits long enough."""
    decision = next_attempt(policy, failure, attempt, draw)
    assert isinstance(decision, Again) == (
        attempt < policy.max_attempts and failure.kind == "retryable" and not failure.is_final
    )
    if isinstance(decision, Again):
        assert decision.delay_ms >= (failure.retry_after_ms or 0)
        assert 2 * decision.delay_ms >= bound_of_ms(policy, attempt)
        assert decision.delay_ms <= max(policy.max_ms, failure.retry_after_ms or 0), format_duration(policy.max_ms)


@given(st.text(), st.text(), attempts)
def test_the_same_attempt_has_the_same_jitter(run_id: str, token_key: str, attempt: int) -> None:
    """A simulation that is repeated waits as long as the first time; the next attempt draws anew."""
    draw = draw_of(run_id, token_key, attempt)
    assert 0 <= draw < 1
    assert draw == draw_of(run_id, token_key, attempt)
    assert draw != draw_of(run_id, token_key, attempt + 1)


def test_delays_of_many_runs_spread() -> None:
    """Runs that failed in the same moment do not come back in the same moment."""
    tenths = [int(10 * draw_of(f"run_{number}", "3", 1)) for number in range(10_000)]
    assert all(900 < tenths.count(tenth) < 1_100 for tenth in range(10))
