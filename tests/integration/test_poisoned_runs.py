"""A step that ends the process that touches it, its handler mended, and its run started again: on real servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from command_line import Said, clean_environ, spawn
from integration.stage import Stage
from integration.test_dead_letters import letters, steps_of, verified
from integration.test_leases import claims, step

pytestmark = pytest.mark.anyio
LEASE_MS = 3_000
DELIVERIES_MAX = 1
APP = """
import os
from pathlib import Path
from courante import step

def note(value, name):
    with (Path(value["folder"]) / "journal").open("a") as journal:
        journal.write(f"{name}\\n")
    return value

@step("reserve")
def reserve(value):
    return note(value, "reserve")

@step("charge")
def charge(value):
    note(value, "charge")
    {fault}return "charged"

@step("ship")
def ship(value):
    return "shipped"
"""
CODE = 70


class Shop:
    """Worker processes of one app, whose ``charge`` ends its process until it is mended, and the command line."""

    def __init__(self, stage: Stage, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        place = {"REDIS_URL": stage.place.redis_url, "DATABASE_URL": stage.place.database_url, "ENV": stage.place.env}
        terms = {"LEASE_MS": str(LEASE_MS), "DELIVERIES_MAX": str(DELIVERIES_MAX)}
        self._environ = {f"COURANTE_{name}": value for name, value in (place | terms).items()}
        self._write(f"os._exit({CODE})\n    ")

    def mend(self) -> None:
        self._write("")

    def _write(self, fault: str) -> None:
        (self._folder / "shop_app.py").write_text(APP.replace("{fault}", fault))

    def hire(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-B", "-m", "courante", "worker", "--app", "shop_app"]
        with (self._folder / "worker.log").open("ab") as log:
            child = subprocess.Popen(
                command, cwd=self._folder, env=clean_environ() | self._environ, stdout=log, stderr=log
            )
        self._stack.callback(child.wait)
        self._stack.callback(child.kill)
        return child

    async def ask(self, *argv: str) -> Said:
        said = await anyio.to_thread.run_sync(partial(spawn, *argv, cwd=self._folder, environ=self._environ))
        assert said.code == 0, said
        return said

    def executed(self) -> list[str]:
        return (self._folder / "journal").read_text().splitlines()


@pytest.fixture
def shop(stage: Stage, tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        yield Shop(stage, tmp_path, stack)


async def test_a_poisoned_run_is_requeued_once_its_handler_is_mended(stage: Stage, shop: Shop, tmp_path: Path) -> None:
    """F13: its worker dies, nobody touches the step any more, and the new run executes what was left, once."""
    stage.supervisor(lease_ms=LEASE_MS)
    await stage.register(
        step("a", "reserve"),
        step("b", "charge", "a", input="steps.a.output"),
        step("c", "ship", "b"),
        output="[steps.b.output, steps.c.output]",
    )
    base = await stage.client.submit("w", {"folder": str(tmp_path)})
    assert await anyio.to_thread.run_sync(shop.hire().wait, 60) == CODE
    last = shop.hire()
    result = await stage.result(base)
    assert result.error is not None
    assert (result.status, result.error["type"]) == ("FAILED", "POISONED")
    assert claims(await stage.events(base)) == [("b", 1)]
    (letter,) = await letters(stage, error="POISONED")
    assert (letter.run_id, letter.node, letter.state) == (base, "b", "open")
    last.kill()
    shop.mend()
    shop.hire()
    (done,) = (await shop.ask("dlq", "requeue", base, "--by", "ada", "--json")).json["requeued"]
    assert (done["base_run_id"], done["is_new"]) == (base, True)
    again = await stage.result(done["run_id"])
    assert (again.status, again.output) == ("COMPLETED", ["charged", "shipped"])
    assert shop.executed() == ["reserve", "charge", "charge"]
    assert {name: row.status for name, row in (await steps_of(stage, done["run_id"])).items()} == {
        "a": "SKIPPED", "b": "SUCCEEDED", "c": "SUCCEEDED",
    }  # fmt: skip
    assert (await verified(stage, done["run_id"])).ok
    assert await letters(stage) == []
    assert await stage.commands() == 2
