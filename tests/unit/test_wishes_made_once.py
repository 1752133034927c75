"""What the same wish has made is not made again by it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from courante.sdk.client.bulk import once
from courante.sdk.client.restarts import Restarted
from courante.sdk.errors import CouranteError, NotRestartable, ServiceUnavailable
from courante.sdk.stores.runs import RunRow
from courante.sdk.stores.status import RunStatus

pytestmark = pytest.mark.anyio
UNSAID = dict.fromkeys(("by", "output_seq", "error", "drain_reason", "started_at", "finished_at"))
PLACE = {"env": "e", "partition": 0, "workflow": "w", "version": 1, "ir_hash": "", "tags": (), "is_halted": False}
MADE_BY = {"run_id": "made", "trigger": "rerun", "base_run_id": "base", "status": RunStatus.COMPLETED}
MADE = msgspec.convert(UNSAID | PLACE | MADE_BY | {"created_at": datetime(2026, 1, 1, tzinfo=UTC)}, RunRow)


class Doing:
    """Runs that go on from others. ``refusal``: what is said where the base is looked at."""

    def __init__(self, refusal: CouranteError | None = None) -> None:
        self.refusal = refusal
        self.done: list[str] = []

    async def do(self, run_id: str, is_dry: bool) -> Restarted:
        if is_dry and self.refusal is not None:
            raise self.refusal
        if not is_dry:
            self.done.append(run_id)
        return Restarted(run_id="made", base_run_id=run_id, base_seq=1, is_new=not is_dry)


async def test_what_the_wish_has_made_is_told_as_it_was() -> None:
    """Unless it is asked for again."""
    doing = Doing()
    told = await once("rerun", doing.do, again=False, dry_run=False)(MADE)
    assert (told.base_run_id, told.is_new, doing.done) == ("base", False, [])
    await once("rerun", doing.do, again=True, dry_run=False)(MADE)
    assert doing.done == ["made"]


async def test_a_base_that_cannot_say_what_was_wished_stops_nothing() -> None:
    """Its log was moved away, or emptied."""
    doing = Doing(NotRestartable("it was forgotten", reason="emptied"))
    await once("rerun", doing.do, again=False, dry_run=False)(MADE)
    assert doing.done == ["made"]


async def test_nothing_is_made_while_nobody_can_say_what_was_wished() -> None:
    """A server that is away for a moment has not said that something else was."""
    doing = Doing(ServiceUnavailable("Postgres cannot be used now"))
    with pytest.raises(ServiceUnavailable):
        await once("rerun", doing.do, again=False, dry_run=False)(MADE)
    assert doing.done == []
