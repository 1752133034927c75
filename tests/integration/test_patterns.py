"""The twenty control-flow patterns, and the first tests of the token rules, as golden runs on real servers.

Each case is a whole document with what must come of it. Those that need a part of the language which registration
still refuses are marked; the mark is all that has to go when that part comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from courante.sdk.authoring.steps import FatalError, Steps
from courante.sdk.embedded import Servers
from integration.cases import Case
from integration.floor import Floor, open_floor
from integration.pattern_cases import PATTERNS
from integration.rule_cases import FIRST_TESTS

pytestmark = pytest.mark.anyio


def cases(some: list[Case]) -> list[Any]:
    def marks(case: Case) -> list[pytest.MarkDecorator]:
        refused = (AssertionError, AttributeError, TimeoutError)
        return [pytest.mark.xfail(strict=True, raises=refused, reason=case.wait)] if case.wait else []

    return [pytest.param(case, id=case.name, marks=marks(case)) for case in some]


async def fail() -> None:
    raise FatalError("as it should")


@pytest.fixture(scope="module")
async def floor(embedded_servers: Servers) -> AsyncIterator[Floor]:
    steps = Steps()
    steps.add(fail, "fail")
    async with open_floor(embedded_servers, steps) as made:
        yield made


async def try_case(floor: Floor, case: Case) -> None:
    done = await floor.run(case.document, case.input, case.commands)
    assert (done.result.status, sorted(done.completed), sorted(done.failed)) == (
        case.status,
        sorted(case.completed),
        sorted(case.failed),
    )
    order = {step: place for place, step in enumerate(done.completed)}
    for first, second in case.before:
        assert order[first] < order[second], f"{first} comes before {second}"
    for one, other in case.apart:
        assert not done.overlap(one, other), f"{one} and {other} ran at the same time"
    if case.output is not ...:
        assert done.result.output == case.output
    assert done.verification.ok, done.verification


@pytest.mark.parametrize("case", cases(PATTERNS))
async def test_a_control_flow_pattern(floor: Floor, case: Case) -> None:
    """The pattern's document completes exactly its steps, in an allowed order, with its status and output."""
    await try_case(floor, case)


@pytest.mark.parametrize("case", cases(FIRST_TESTS))
async def test_a_graph_that_breaks_without_its_rule(floor: Floor, case: Case) -> None:
    """A graph of the token rules' first tests comes to its one right end."""
    await try_case(floor, case)


def test_all_twenty_patterns_are_here() -> None:
    """Twenty original patterns, each once."""
    assert len({case.name for case in PATTERNS}) == len(PATTERNS) == 20
