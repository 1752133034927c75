"""``courante migrate-run``: what it says, how it exits, and what is left when it is killed on its way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from command_line import Said, spawn
from courante.replay import verify_run
from integration.stage import Stage, until
from integration.test_migrate_run import FIRST, SECOND, computes, parked

pytestmark = pytest.mark.anyio
Courante = Callable[..., Any]


@pytest.fixture
async def courante(stage: Stage, redis_url: str, migrated_database: str, tmp_path: Path) -> Courante:
    """Call a command in the stage's environment; ``fault``: see ``fault_points``."""

    async def call(*argv: str, fault: str = "") -> Said:
        environ = {
            "COURANTE_REDIS_URL": redis_url,
            "COURANTE_DATABASE_URL": migrated_database,
            "COURANTE_ENV": stage.place.env,
            "COURANTE_FAULT": fault,
        }
        return await anyio.to_thread.run_sync(partial(spawn, *argv, cwd=tmp_path, environ=environ))

    return call


async def test_what_it_says(stage: Stage, courante: Courante) -> None:
    stage.worker()
    stage.supervisor()
    run_id = await parked(stage, *FIRST)
    await stage.register(*FIRST[:1], FIRST[2], computes("z", "1", "b"))
    await stage.register(*SECOND)
    refused = await courante("migrate-run", run_id, "--to", "2", "--json")
    assert refused.code == 1
    assert (refused.json["ok"], refused.json["moved"]) == (False, False)
    (first, *_) = refused.json["blockers"]
    assert set(first) == {"code", "token", "node", "scope", "message", "hint"}
    assert (first["code"], first["token"], first["node"]) == ("node_gone", f"{run_id}/go/", "go")
    told = await courante("migrate-run", run_id, "--to", "2")
    assert told.code == 1
    assert all(word in told.out for word in ("cannot go on with version 2", first["message"], first["hint"]))
    dry = await courante("migrate-run", run_id, "--to", "latest", "--dry-run", "--json")
    assert (dry.code, dry.json["ok"], dry.json["moved"]) == (0, True, False)
    assert (dry.json["from"]["version"], dry.json["to"]["version"]) == (1, 3)
    done = await courante("migrate-run", run_id, "--to", "latest", "--by", "me", "--json")
    assert (done.code, done.json["moved"], done.json["by"], done.json["to"]) == (0, True, "me", dry.json["to"])
    again = await courante("migrate-run", run_id, "--to", "3", "--json")
    assert (again.code, again.json["moved"], again.json["from"]) == (0, False, done.json["to"])
    assert (await courante("migrate-run", run_id, "--to", "9", "--json")).code == 3
    assert (await courante("migrate-run", "run_none", "--to", "1", "--json")).code == 3
    shown = await courante("status", run_id, "--json")
    assert {step["id"] for step in shown.json["steps"]} == {"a", "b", "go", "z", "new", "last"}
    state = await courante("replay", run_id, "--json")
    assert {step["node"] for step in state.json["steps"]} == {"a", "b", "go", "z", "new", "last"}
    assert (await courante("replay", run_id, "--verify", "--json")).json["ok"]


@pytest.mark.parametrize(("fault", "is_moved"), [("before_migrate", False), ("after_migrate", True)])
async def test_a_kill_on_the_way(stage: Stage, courante: Courante, fault: str, is_moved: bool) -> None:
    """Before the call nothing has happened, behind it all has; asking again does the rest, and the run ends."""
    stage.worker()
    stage.supervisor()
    run_id = await parked(stage, *FIRST)
    await stage.register(*SECOND)
    assert (await courante("migrate-run", run_id, "--to", "2", fault=f"{fault}:1:kill9")).code == -9
    if is_moved:
        await until(lambda: stage.types(run_id), lambda types: types[-1] == "run.migrated")
    assert ("run.migrated" in await stage.types(run_id)) == is_moved
    again = await courante("migrate-run", run_id, "--to", "2", "--json")
    assert (again.code, again.json["moved"]) == (0, not is_moved)
    assert (await stage.types(run_id)).count("run.migrated") == 1
    await stage.client.signal(run_id, "go", 7)
    assert (await stage.result(run_id)).output == {"last": [20, 102, 7]}
    async with stage.client.pool.acquire() as conn:
        assert (await verify_run(conn, stage.place.env, run_id)).ok
