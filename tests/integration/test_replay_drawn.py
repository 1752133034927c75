"""Random documents, run on real servers with drawn outcomes: every log verifies, whatever its graph and its order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from courante.sdk.authoring.context import Context
from courante.sdk.authoring.steps import FatalError, Steps
from courante.sdk.embedded import Servers
from integration.floor import Floor, open_floor
from model.reading.draw import HANDLER, LARGE, SMALL, accepted
from model.reading.graph import from_document
from model.reading.oracle import Seeded

RUNS = 40
ORACLES: dict[str, Seeded] = {}
"""By workflow id."""

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("sweeping")]


def answer(value: object, context: Context) -> dict[str, Any]:
    """What the step of that name and scope does, drawn beforehand."""
    del value
    outcome = ORACLES[context.workflow].outcome(context.node, context.scope)
    if not outcome.ok:
        raise FatalError("drawn")
    return {"again": outcome.again, "r": list(outcome.rules), "e": outcome.edges}


@pytest.fixture(scope="module")
async def floor(embedded_servers: Servers) -> AsyncIterator[Floor]:
    steps = Steps()
    steps.add(answer, HANDLER)
    async with open_floor(embedded_servers, steps) as made:
        yield made


async def test_logs_of_drawn_runs_verify(floor: Floor) -> None:
    """Branches, guards, loops, gates, joins, failures and drains replay without a difference, decisions included.

    And nothing is forgotten meanwhile that is still to be read, though what nobody can read goes with every event.
    """
    statuses: set[str] = set()
    decisions = 0
    for seed in range(RUNS):
        document = {**accepted(seed, LARGE if seed % 4 == 0 else SMALL), "id": f"drawn-{seed}"}
        graph = from_document(document)
        oracle = ORACLES[f"drawn-{seed}"] = Seeded.varied(graph, seed)
        given = {"when": {name: oracle.when(name) for name in graph.nodes}}
        done = await floor.run(document, given)
        assert done.verification.ok, f"seed {seed}: {done.verification}"
        assert done.verification.unchecked == 0
        statuses.add(done.result.status)
        decisions += done.verification.decisions
    assert statuses == {"COMPLETED", "FAILED"}
    assert decisions > RUNS
