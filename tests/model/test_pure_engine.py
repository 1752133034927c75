"""The pure rules agree with the naive reading in every order, and the compiler refuses what the reading refuses.

``COURANTE_MODEL_EXAMPLES`` sets the number of graphs per test; what fails names its seed.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from courante.sdk.marking import rules
from model.compiled import REASONS, Parking, compile_document, plan_of, with_delays
from model.first_tests import FIRST_TESTS, FirstTest
from model.interleave import compare, drive_at_random, every_order
from model.pure_engine import PureEngine
from model.reading.draw import LARGE, SMALL, accepted, document, documents, every_document
from model.reading.graph import Document, from_document
from model.reading.oracle import Seeded, Told
from model.reading.reading import read
from model.reading.regions import Reason, refusal

EXAMPLES = int(os.environ.get("COURANTE_MODEL_EXAMPLES", "0"))
ORDERS = 3
CHUNKS = ((500, 64), (500, 64), (1, 0), (2, 1))
"""(most effects of a transition, longest walk of a dead path): what is rare is made common."""


def try_document(drawn: Document, seed: int) -> int:
    """Drive a document through random orders; return the deliveries. Raises at the first thing that is wrong."""
    graph = from_document(drawn)
    oracle = Seeded.varied(graph, seed)
    reading = read(graph, oracle)
    ir = plan_of(with_delays(drawn, seed)).ir
    steps = 0
    with pytest.MonkeyPatch.context() as patch:
        effects, walk = CHUNKS[seed % len(CHUNKS)]
        patch.setattr(rules, "EFFECTS_MAX", effects)
        patch.setattr(rules, "WALK_MAX", walk)
        for order in range(ORDERS):
            parking = Parking(seed=seed, share=(0.0, 0.3)[order % 2])
            engine = PureEngine(ir, oracle, parking)
            driven = drive_at_random(engine, order)
            compare(engine, driven, graph, reading)
            steps += len(driven.steps)
    return steps


def test_random_orders_agree_with_the_reading() -> None:
    count = EXAMPLES or 1_200
    for seed in range(count):
        try:
            try_document(accepted(seed, LARGE if seed % 5 == 0 else SMALL), seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@settings(max_examples=EXAMPLES or 100)
@given(documents(), st.integers(0, 10_000))
def test_drawn_documents_agree_with_the_reading(drawn: Document, seed: int) -> None:
    try_document(drawn, seed)


@pytest.mark.parametrize("size", [3, 4])
def test_every_order_of_small_graphs_agrees_with_the_reading(size: int) -> None:
    """All documents of the size under the long run, a fixed sample of them otherwise."""
    budget, orders = EXAMPLES or 250, 0
    everything = [found for found in every_document(size) if not refusal(from_document(found))]
    for at, drawn in enumerate(islice(everything, 0, None, max(1, len(everything) // budget))):
        graph = from_document(drawn)
        oracle = Seeded(graph=graph, seed=at, failing=0.2)
        reading = read(graph, oracle)
        ir = plan_of(drawn).ir
        for engine, driven in every_order(partial(PureEngine, ir, oracle), orders_max=30):
            try:
                compare(engine, driven, graph, reading)
            except AssertionError as error:
                raise AssertionError(f"document {at} of {size} nodes: {error}: {drawn}") from error
            orders += 1
    assert orders > min(budget, len(everything))


def test_the_compiler_refuses_what_the_reading_refuses() -> None:
    """Accepted or refused alike, over drawn and over all small documents; each code stands for a reason found."""
    seen = Counter[str]()
    step = 1 if EXAMPLES else 11
    drawn = (document(Random(seed), LARGE if seed % 3 == 0 else SMALL) for seed in range(EXAMPLES or 800))
    for at, found in enumerate([*drawn, *every_document(3), *islice(every_document(4), 0, None, step)]):
        reasons = refusal(from_document(found))
        ir, codes = compile_document(found)
        assert (ir is None) == bool(reasons), f"document {at}: {codes}, read as {reasons}: {found}"
        assert {REASONS[code] for code in codes} <= reasons, f"document {at}: {codes}, read as {reasons}: {found}"
        seen.update(reasons)
    assert set(seen) >= set(Reason) - {Reason.CYCLE, Reason.AT_LEAST}


@pytest.mark.parametrize("test", FIRST_TESTS, ids=lambda test: test.name)
def test_the_first_tests_hold_in_every_order(test: FirstTest) -> None:
    """The graphs of section 9, through every order of deliveries."""
    graph, oracle = from_document(test.document()), Told(outcomes=test.outcomes)
    ir = plan_of(test.document()).ir
    reading = read(graph, oracle)
    for engine, driven in every_order(partial(PureEngine, ir, oracle), orders_max=2_000):
        compare(engine, driven, graph, reading)
        assert test.places() in (None, engine.executed())
