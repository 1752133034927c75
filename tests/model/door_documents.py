"""Documents of drawn maps to which items are added while they run: most maps have a door, and two names serve all."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from courante.testing.simulation import Chances, Simulation
from model.map_documents import document_of, draw_parts

CHANCES = (
    Chances(meddling=0.4, commands=("signal",)),
    Chances(meddling=0.5, crashing=0.1, commands=(*("signal",) * 8, "pause", "resume", "cancel_step", "answer")),
    Chances(meddling=0.4, losing=0.05, recording=0.02, commands=(*("signal",) * 6, "force_succeed", "answer")),
    Chances(meddling=0.3, cancelling=0.03, commands=(*("signal",) * 4, "pause", "resume", "force_skip")),
)
"""Most of what happens besides is that a signal comes."""
STEPS = 120
"""For so long they come; from then on each door is shut by its time, or nothing would ever end."""


def doors_document(seed: int, policies: tuple[Any, ...]) -> dict[str, Any]:
    random = Random(f"doors {seed}")
    document = document_of(draw_parts(random, 1 + seed % 2, [0], policies=policies), seed % 3)
    for node in document["nodes"]:
        if node["type"] == "map" and random.random() < 0.8:
            node["config"]["more"] = {"signal": random.choice("AB"), "expires": "1h"}
    return document


def driven(simulation: Simulation) -> str:
    """Drive a run with doors to its end; return its status."""
    simulation.begin()
    simulation.go_on(STEPS)
    simulation.chances = replace(simulation.chances, meddling=0.0)
    return simulation.drive()
