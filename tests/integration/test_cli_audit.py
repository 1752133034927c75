"""``courante audit``: what it writes and says, and how it exits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from command_line import Said, spawn
from integration.cases import node
from integration.stage import Stage

pytestmark = pytest.mark.anyio
Courante = Callable[..., Any]


@pytest.fixture
async def courante(stage: Stage, redis_url: str, migrated_database: str, tmp_path: Path) -> Courante:
    """Call a command in the stage's environment."""

    async def call(*argv: str, stdin: str = "") -> Said:
        environ = {
            "COURANTE_REDIS_URL": redis_url,
            "COURANTE_DATABASE_URL": migrated_database,
            "COURANTE_ENV": stage.place.env,
        }
        return await anyio.to_thread.run_sync(partial(spawn, *argv, cwd=tmp_path, environ=environ, stdin=stdin))

    return call


async def ended(stage: Stage, count: int) -> list[str]:
    """Runs that have ended and are in the log."""
    stage.worker()
    stage.supervisor()
    workflow = await stage.register(node("a", type="transform", config={"mapping": {"n": "input.n"}}), node("b", "a"))
    runs = [await stage.client.submit(workflow, {"n": number}) for number in range(count)]
    for run_id in runs:
        await stage.client.wait(run_id, timeout_s=60, is_recorded=True)
    return runs


async def test_a_bundle_is_written_signed_and_checked(stage: Stage, courante: Courante, tmp_path: Path) -> None:
    runs = await ended(stage, 3)
    keys = await courante("audit", "keygen", "--output", "k.pem", "--json")
    assert (keys.code, keys.json["public"]) == (0, "k.pem.pub")
    assert (tmp_path / "k.pem").stat().st_mode & 0o077 == 0
    assert (await courante("audit", "keygen", "--output", "k.pem")).code == 64
    made = await courante("audit", "export", *runs, "--output", "b.jsonl", "--sign", "k.pem", "--by", "ada", "--json")
    assert (made.code, made.json["runs"], made.json["signed_by"]) == (0, 3, keys.json["key"])
    good = await courante("audit", "verify", "b.jsonl", "--key", "k.pem.pub", "--json")
    assert (good.code, good.json["ok"], good.json["runs"], good.json["bad"]) == (0, True, 3, [])
    assert good.json["events"] == made.json["events"]
    assert "as it should be" in (await courante("audit", "verify", "b.jsonl", "--key", "k.pem.pub")).out
    content = (tmp_path / "b.jsonl").read_text()
    at = content.index('"seq":3,', content.index(f'"run","run_id":"{runs[1]}"'))
    (tmp_path / "c.jsonl").write_text(content[:at] + '"seq":4,' + content[at + len('"seq":3,') :])
    bad = await courante("audit", "verify", "c.jsonl", "--json")
    assert (bad.code, bad.json["ok"]) == (1, False)
    assert (bad.json["bad"][0]["run_id"], bad.json["bad"][0]["seq"]) == (runs[1], 3)
    told = await courante("audit", "verify", "c.jsonl")
    assert (told.code, f"{runs[1]} event 3: missing" in told.out) == (1, True)


async def test_runs_are_chosen_and_piped(stage: Stage, courante: Courante, tmp_path: Path) -> None:
    """Filters page through everything; without a file the bundle alone is on stdout."""
    await ended(stage, 4)
    piped = await courante("audit", "export", "--since", "1h", "--status", "completed")
    assert piped.code == 0
    again = await courante("audit", "verify", "-", "--json", stdin=piped.out)
    assert (again.code, again.json["runs"]) == (0, 4)
    none = await courante("audit", "export", "--workflow", "nobody", "--output", "none.jsonl", "--json")
    assert (none.code, none.json["runs"]) == (0, 0)
    none = await courante("audit", "export", "--workflow", "nobody", "--output", "none.jsonl")
    assert "there are no such runs" in none.err
    for argv, code in (
        (["export"], 64),
        (["export", "run_1", "--since", "1h"], 64),
        (["export", "--since", "1h", "--json"], 64),
        (["export", "--since", "soon", "--output", "x"], 64),
        (["export", "--since", "1h", "--sign", "nokey", "--output", "x"], 64),
        (["export", "run_none", "--output", "x"], 3),
        (["verify", "nofile"], 3),
        (["verify", "none.jsonl", "--key", "none.jsonl"], 64),
        (["verify"], 64),
    ):
        said = await courante("audit", *argv)
        assert said.code == code, (argv, said)
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "x.part").exists()


async def test_anchors_are_made_kept_and_checked(stage: Stage, courante: Courante, tmp_path: Path) -> None:
    runs = await ended(stage, 2)
    await courante("audit", "keygen", "--output", "k.pem")
    made = await courante("audit", "anchor", "--output", "kept.jsonl", "--sign", "k.pem", "--json")
    assert (made.code, made.json["ok"], made.json["number"], made.json["heads"], made.json["bad"]) == (
        0,
        True,
        1,
        2,
        [],
    )
    swapped = await courante("audit", "anchor", "--sign", "k.pem.pub", "--json")
    assert (swapped.code, swapped.json["error"]["hint"]) == (64, "FILE signs, FILE.pub only checks")
    plain = await courante("audit", "anchor")
    assert (plain.code, plain.out.count("\n"), '"heads":0' in plain.out) == (0, 1, True)
    assert (tmp_path / "kept.jsonl").read_text() == f"{made.json['line']}\n"
    every = await courante("audit", "anchors")
    assert every.out == f"{made.json['line']}\n{plain.out}"
    checked = await courante("audit", "check-anchors", "kept.jsonl", "--key", "k.pem.pub", "--chains", "--json")
    assert (checked.code, checked.json) == (0, {"ok": True, "anchors": 1, "heads": 2, "bad": []})
    other = await courante("audit", "check-anchors", "-", "--key", "k.pem.pub", "--json", stdin=every.out)
    assert (other.code, [bad["what"] for bad in other.json["bad"]]) == (1, ["signature"])
    await courante("audit", "export", *runs, "--output", "b.jsonl")
    good = await courante("audit", "verify", "b.jsonl", "--anchors", "kept.jsonl", "--json")
    assert (good.code, good.json["is_anchored"]) == (0, True)
    none = await courante("audit", "verify", "b.jsonl", "--anchors", "b.jsonl", "--json")
    assert (none.code, none.json["bad"][0]["what"]) == (1, "anchor")
    for argv in (["check-anchors", "nofile"], ["verify", "b.jsonl", "--anchors", "nofile"]):
        assert (await courante("audit", *argv)).code == 3
