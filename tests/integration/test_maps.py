"""Maps on real servers: golden runs, each verified against its own log."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from courante.sdk.authoring.steps import FatalError, Steps
from courante.sdk.embedded import Servers
from integration.cases import Case
from integration.floor import Floor, open_floor
from integration.map_cases import MAPS
from integration.test_patterns import try_case

pytestmark = pytest.mark.anyio


async def fail() -> None:
    raise FatalError("as it should")


@pytest.fixture(scope="module")
async def floor(embedded_servers: Servers) -> AsyncIterator[Floor]:
    steps = Steps()
    steps.add(fail, "fail")
    async with open_floor(embedded_servers, steps) as made:
        yield made


@pytest.mark.parametrize("case", MAPS, ids=lambda case: case.name)
async def test_a_map_comes_to_its_one_right_end(floor: Floor, case: Case) -> None:
    """Exactly its items run, their results come in their order, and the log says the same."""
    await try_case(floor, case)
