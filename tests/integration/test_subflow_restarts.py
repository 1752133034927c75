"""Child runs that ended badly and were started again: where they stand, and whether a step waits for them."""

from __future__ import annotations

import pytest

from courante.sdk.stores.children import ChildState
from courante.supervisor.children import Children
from integration.child_runs import child, children
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


class Shop:
    """A step that fails while it is closed. ``is_blind``: supervisors look after no child run from the failure on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, blinds: bool) -> None:
        self.is_closed = True
        self.is_blind = False
        self._blinds = blinds
        look = Children.look

        async def looks(own: Children) -> int:
            return 0 if self.is_blind else await look(own)

        monkeypatch.setattr(Children, "look", looks)

    async def sell(self) -> str:
        if self.is_closed:
            self.is_blind = self._blinds
            raise ValueError("closed")
        return "sold"


def step(**fields: object) -> dict[str, object]:
    return {"id": "sell", "type": "function", "config": {"handler": "sell"}, "retry": {"max_attempts": 1}, **fields}


async def test_a_child_run_that_goes_on_stands_where_it_stood(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of depth holds for it too, and its parent has failed."""
    shop = Shop(monkeypatch, blinds=False)
    stage.worker({"sell": shop.sell})
    stage.supervisor()
    await stage.register({"id": "n", "type": "noop"}, id="leaf")
    await stage.register(step(), child("leaf", depends_on="sell"), id="inner")
    outer = await stage.run(await stage.register(child(), id="outer"))
    (first,) = await children(stage, outer.run_id)
    shop.is_closed = False
    again = await stage.client.retry(first.run_id)
    assert (await stage.result(again.run_id)).status == "COMPLETED"
    (leaf,) = await children(stage, again.run_id)
    assert (outer.status, first.depth, leaf.depth) == ("FAILED", 1, 2)


async def test_a_step_that_still_waits_waits_for_the_run_that_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has told it of the first end when the child is started again: it hears of the second."""
    shop = Shop(monkeypatch, blinds=True)
    stage.worker({"sell": shop.sell})
    stage.supervisor()
    await stage.register(step(), id="inner", output="steps.sell.output")
    run_id = await stage.client.submit(await stage.register(child(), id="outer", output="steps.child.output"))
    (first,) = await until(lambda: children(stage, run_id), lambda rows: [row.status for row in rows] == ["FAILED"])
    shop.is_closed = False
    again = await stage.client.retry(first.run_id)
    assert (await stage.result(again.run_id)).status == "COMPLETED"
    shop.is_blind = False
    result = await stage.result(run_id)
    assert (result.status, result.output) == ("COMPLETED", "sold")
    (row,) = await until(lambda: children(stage, run_id), lambda rows: rows[0].state is ChildState.SETTLED)
    assert (row.run_id, row.depth) == (again.run_id, 1)
