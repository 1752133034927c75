"""Given outputs are meant for one place each."""

from __future__ import annotations

import pytest

from courante.sdk.errors import InputInvalid
from courante.sdk.fold.cuts import At, Cut, Settled
from courante.sdk.marking.marking import Marking
from courante.sdk.restarts.given import place_given
from integration.cases import node
from model.compiled import plan_of


def test_two_outputs_for_one_place_are_refused() -> None:
    """In a loop a step alone is its last iteration."""
    loop = {"back_to": "l", "while": "loop.iteration < 2", "max_iterations": 3}
    plan = plan_of({"courante": 1, "id": "w", "nodes": [node("l", loop=loop)]})
    done: dict[At, Settled] = {(0, (number,)): Settled("SUCCEEDED", 1, "") for number in (1, 2)}
    cut = Cut(seq=9, at_ms=0, marking=Marking(), settled=done, parked={}, emptied=set())
    first, last = (place_given(plan, cut, {name: b"1"}) for name in ("l[l#1]", "l"))
    assert first != last
    with pytest.raises(InputInvalid, match=r"l\[l#2\].*twice"):
        place_given(plan, cut, {"l": b"1", "l[l#2]": b"2"})


def test_a_map_is_given_a_list() -> None:
    nodes = [node("m", type="map", config={"items": "[1]"}), node("a", "m"), node("all", "a", type="aggregate")]
    plan = plan_of({"courante": 1, "id": "w", "nodes": nodes})
    done: dict[At, Settled] = {(0, ()): Settled("SUCCEEDED", 1, "", items=1)}
    cut = Cut(seq=9, at_ms=0, marking=Marking(), settled=done, parked={}, emptied=set())
    assert place_given(plan, cut, {"m": b"[5,6]"}) == {"m": b"[5,6]"}
    with pytest.raises(InputInvalid, match="m is a map, and gives a list of items"):
        place_given(plan, cut, {"m": b"5"})
