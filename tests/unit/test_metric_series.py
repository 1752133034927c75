"""What is counted is told whole, and never under more names than were agreed on."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from courante.sdk.metrics.exposition import Exposition
from courante.sdk.metrics.series import OTHER, SECONDS, Places, Series, Spreads

TIMES = st.lists(st.floats(min_value=0, max_value=1e6, allow_nan=False), max_size=50)


def read(exposition: Exposition) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    _, content = exposition.write("")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
    }


@given(TIMES)
def test_a_histogram_has_every_time_in_its_bucket(times: list[float]) -> None:
    """Each bucket holds what is at most its bound; the last one holds all; the sum is theirs."""
    spreads = Spreads("t_seconds", "times", "step")
    for time in times:
        spreads.of(("a",)).add(time)
    spreads.of(("a",))
    found = read(Exposition(lambda: [spreads], {}))
    for bound in SECONDS:
        key = "t_seconds_bucket", (("le", str(bound)), ("step", "a"))
        assert found[key] == sum(time <= bound for time in times)
    assert found["t_seconds_bucket", (("le", "+Inf"), ("step", "a"))] == len(times)
    assert found["t_seconds_count", (("step", "a"),)] == len(times)
    assert math.isclose(found["t_seconds_sum", (("step", "a"),)], math.fsum(times), rel_tol=1e-9, abs_tol=1e-9)


@given(TIMES, TIMES)
def test_two_spreads_join_to_the_one_of_both(one: list[float], other: list[float]) -> None:
    """It does not matter where a time was counted."""
    spreads = Spreads("t_seconds", "times", "step")
    for name, times in (("one", one), ("other", other), ("both", [*one, *other])):
        for time in times:
            spreads.of((name,)).add(time)
    joined = spreads.of(("one",))
    joined.join(spreads.of(("other",)))
    both = spreads.of(("both",)).told()
    assert joined.told().buckets == both.buckets
    assert math.isclose(joined.told().total, both.total, rel_tol=1e-9, abs_tol=1e-9)


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=60))
def test_names_are_bounded(pairs: list[tuple[str, str]]) -> None:
    """The first so many keep their names for ever, all others are one."""
    places = Places(5)
    first = list(dict.fromkeys(pairs))[:5]
    for pair in pairs:
        assert places.place(*pair) == (pair if pair in first else (OTHER, OTHER))


@given(st.text(), st.text())
def test_any_text_may_be_a_label(value: str, env: str) -> None:
    """Quotes, backslashes and line breaks arrive as they were; what is shared is at every sample."""
    series = Series("things", "of the kind", "name", kind="gauge")
    series.set({(value,): 3})
    text = Exposition(lambda: [series], {"env": env}).write("")[1].decode("utf-8", "surrogatepass")
    (family,) = text_string_to_metric_families(text)
    (sample,) = family.samples
    assert (sample.labels, sample.value) == ({"env": env, "name": value}, 3)
