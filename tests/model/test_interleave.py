"""A token engine in plain dicts agrees with the reading in every order, and no longer when a rule is left out."""

from __future__ import annotations

from functools import partial

import pytest

from model.interleave import Violation, compare, drive_at_random, every_order
from model.reading.draw import LARGE, SMALL, accepted, every_document
from model.reading.graph import Document, from_document
from model.reading.oracle import Seeded
from model.reading.reading import read
from model.reading.regions import refusal
from model.reading.shrink import shrink
from model.token_engine import RULES, TokenEngine


def try_seed(seed: int, document: Document, without: str = "") -> None:
    """Drive a document through three random orders; raises at the first thing that is wrong."""
    graph = from_document(document)
    oracle = Seeded.varied(graph, seed)
    reading = read(graph, oracle)
    for order in range(3):
        engine = TokenEngine(graph, oracle, without)
        compare(engine, drive_at_random(engine, order), graph, reading)


def breaks(seed: int, document: Document, without: str) -> bool:
    try:
        try_seed(seed, document, without)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("seed", range(150))
def test_random_orders_agree_with_the_reading(seed: int) -> None:
    try_seed(seed, accepted(seed, LARGE if seed % 5 == 0 else SMALL))


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_rule_left_out_is_noticed(rule: str) -> None:
    assert any(breaks(seed, accepted(seed), rule) for seed in range(1_500))


def test_every_order_of_small_graphs_agrees_with_the_reading() -> None:
    orders = 0
    for at, document in enumerate(every_document(3)):
        graph = from_document(document)
        if at % 3 or refusal(graph):
            continue
        oracle = Seeded(graph=graph, seed=at, failing=0.2)
        for engine, driven in every_order(partial(TokenEngine, graph, oracle), orders_max=50):
            compare(engine, driven, graph, read(graph, oracle))
            orders += 1
    assert orders > 100


def test_a_hanging_run_is_a_violation() -> None:
    graph = from_document({"nodes": [{"id": "a", "type": "noop"}]})
    engine = TokenEngine(graph, Seeded(graph=graph, seed=1))
    engine.count = 1
    with pytest.raises(Violation, match="counter 2"):
        drive_at_random(engine, 1)


def test_a_broken_run_shrinks_to_the_heart_of_it() -> None:
    """Without gates, what is left is one loop, an edge that leaves it from another node, and where that leads."""
    seed = next(seed for seed in range(1_500) if breaks(seed, accepted(seed), "gate"))
    small = from_document(shrink(accepted(seed), lambda document: breaks(seed, document, "gate")))
    assert len(small.nodes) <= 4
    assert sum(node.loop is not None for node in small.nodes.values()) == 1
