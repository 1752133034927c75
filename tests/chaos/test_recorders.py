"""Recorders and Postgres in trouble: the log has every event once, in order, without a gap."""

from __future__ import annotations

import anyio
import pytest

from chaos.shapes import draw_orders
from chaos.site import SHORT_LEASE_MS, Site

pytestmark = pytest.mark.anyio
KILLED = -9


@pytest.mark.parametrize(
    "point", ["before_commit", "after_commit", pytest.param("before_trim", marks=pytest.mark.long), "after_trim"]
)
async def test_a_recorder_is_killed(site: Site, point: str) -> None:
    """F43, F44, F45: killed around its commit and around a trim; the next one goes on where the log ends."""
    first = site.supervisor(fault=f"{point}:3:kill9" if point.endswith("commit") else f"{point}:1:kill9")
    site.worker()
    await site.order_until(lambda: first.code is not None, 43)
    assert first.code == KILLED
    site.supervisor()
    await site.order(draw_orders(44, 6))
    await site.until_ended()
    await site.check()


async def test_the_answer_to_a_commit_is_lost(site: Site) -> None:
    """F46: the batch is in the log and its recorder does not know; it asks for the cursor and assumes nothing."""
    way = await site.proxy(site.postgres.port)
    supervisor = site.supervisor(postgres=way)
    site.worker()
    for turn in range(3):
        way.lose_answer(b"COMMIT", turn=2)
        await site.order_until(lambda: way.lost > turn, turn)  # noqa: B023 - it is called in this turn
    await site.until_ended()
    assert supervisor.code is None
    assert site.said("log_diverged") == 0
    await site.check()


async def test_three_recorders_at_once(site: Site) -> None:
    """F47, F56: three supervisors do everything thrice, and it is done once."""
    supervisors = [site.supervisor() for _ in range(3)]
    for _ in range(2):
        site.worker()
    await site.order(draw_orders(47, 40))
    await site.until_ended()
    assert [supervisor.code for supervisor in supervisors] == [None] * 3
    assert site.said("log_diverged") == 0
    await site.check()


async def test_a_recorder_sleeps_while_another_works(site: Site) -> None:
    """F48: frozen with a batch in hand; the other one takes its place; woken, it finds that the cursor has moved.

    It holds the cursor's row and its session lives: that ends when it has been silent for too long.
    """
    site.lease_ms = SHORT_LEASE_MS
    sleeper = site.supervisor(fault="before_commit:4:stop")
    site.worker()
    await site.order_until(lambda: sleeper.is_frozen, 48)
    other = site.supervisor()
    await site.until_ended()
    sleeper.thaw()
    await site.order(draw_orders(49, 20))
    await site.until_ended()
    assert (sleeper.code, other.code) == (None, None)
    await site.check()


@pytest.mark.parametrize("is_killed", [pytest.param(True, marks=pytest.mark.long), False], ids=["killed", "stopped"])
async def test_postgres_is_away(site: Site, is_killed: bool) -> None:
    """F41: runs go on without it; when it is back everything drains in order."""
    supervisor, worker = site.supervisor(), site.worker()
    await site.until_ready()
    await site.order(draw_orders(41, 10))
    ids = await site.order(draw_orders(42, 10))
    if is_killed:
        site.postgres.kill()
    else:
        await site.postgres.stop()
    await anyio.sleep(1)  # so long away
    await site.postgres.start()
    await site.order(draw_orders(45, 5))
    await site.until_ended()
    assert ids
    assert (supervisor.code, worker.code) == (None, None)
    await site.check()
