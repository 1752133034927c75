"""Where nothing is disturbed, nothing is found."""

from __future__ import annotations

import pytest

from chaos.shapes import draw_orders
from chaos.site import Site

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("partitions", [pytest.param(1, marks=pytest.mark.long), 3])
async def test_a_calm_site_keeps_every_promise(site: Site, partitions: int) -> None:
    """Two supervisors and two workers on the same servers: every run ends as it should, and once."""
    await site.split(partitions)
    for _ in range(2):
        site.worker()
        site.supervisor()
    await site.order(draw_orders(1, 40))
    await site.until_ended()
    await site.check()
