"""Supervisors that die between a step and its child run: there is one child run, and the step hears of its end once."""

from __future__ import annotations

import pytest

from chaos.shapes import order
from chaos.site import ENV, Site

pytestmark = pytest.mark.anyio
KILLED = -9
NODES = [
    {"id": "child", "type": "subflow", "config": {"workflow": "chain"}},
    {"id": "after", "type": "noop", "depends_on": "child"},
]


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("before_child", marks=pytest.mark.long),
        "after_child",
        "before_child_told",
        pytest.param("after_child_told", marks=pytest.mark.long),
    ],
)
async def test_a_supervisor_is_killed_between_a_step_and_its_child_run(site: Site, point: str) -> None:
    """F67: whatever the dead one has done or not, the next one finds out from both ends of the link."""
    await site.register({"courante": 1, "id": "parent", "nodes": NODES})
    first = site.supervisor(fault=f"{point}:1:kill9")
    site.worker()
    given = order("chain", 1, "unused").input
    client = await site.reach_client()
    parents = [await client.submit("parent", given, key=f"parent-{number}") for number in range(3)]
    assert await first.wait() == KILLED
    site.supervisor()
    for run_id in parents:
        result = await client.wait(run_id, timeout_s=60, is_recorded=True)
        assert result.status == "COMPLETED"
    starts = await site.query("SELECT run_id, workflow FROM commands WHERE env = $1 AND type = 'start'", ENV)
    assert sorted(row["workflow"] for row in starts) == ["chain"] * 3 + ["parent"] * 3
    told = await site.query("SELECT run_id FROM commands WHERE env = $1 AND type = 'child_ended'", ENV)
    assert sorted(row["run_id"] for row in told) == sorted(parents)
    site.accepted |= {row["run_id"]: "chain/1" for row in starts if row["workflow"] == "chain"}
    await site.until_ended()
    await site.check()
