"""Runs that are made again in parts, at the command line."""

from __future__ import annotations

import pytest

from integration.stage import Stage, until
from integration.test_cli_dlq import Ask
from integration.test_rebuilding import Builders, built

pytestmark = pytest.mark.anyio


async def test_a_run_is_rebuilt(stage: Stage, ask: Ask) -> None:
    """A dry run starts nothing; asked twice it is the same run; what is wrong is said with what would be right."""
    base = await built(stage, Builders())
    shown = await ask("workflows", "show", "w")
    assert shown["changes"]["prices"] == ["price"]
    assert "change post: mail" in (await ask("workflows", "show", "w", is_json=False)).out
    dry = await ask("rebuild", base, "--change", "looks", "--dry-run")
    assert (dry["base_run_id"], dry["impacted"]) == (base, ["draw", "images", "page", "publish"])
    assert sorted(dry["reused"]) == ["brief", "copy", "cut", "legal", "mail", "price", "sizes", "style"]
    assert dry["scopes"] == {"draw": ["sizes[0]", "sizes[1]", "sizes[2]"]}
    assert set(dry) == {"is_new", "base_run_id", "base_seq", "impacted", "reused", "scopes"}
    done = await ask("rebuild", base, "--change", "looks", "--by", "ada")
    assert (done["is_new"], done["by"]) == (True, "ada")
    for word in ("latest", "newest"):  # the second was the word before
        assert not (await ask("rebuild", base, "--change", "looks", "--version", word))["is_new"]
    said = (await ask("rebuild", base, "--change", "looks", "--version", "oldest", is_json=False, code=64)).err
    assert "newest" not in said
    await stage.result(done["run_id"])
    assert (await ask("replay", done["run_id"], "--verify"))["ok"]
    status = await ask("status", done["run_id"])
    reasons = {each["id"]: each["reason"] for each in status["steps"] if each["status"] == "SKIPPED"}
    assert reasons["brief"] == reasons["mail"] == "reused_from_base_run"
    said = (await ask("rebuild", base, "--change", "looks", is_json=False)).out
    assert f"was made again so before: it is {done['run_id']}; --again starts another run" in said
    said = (await ask("rebuild", base, "--change", "post", "--dry-run", is_json=False)).out
    assert f"{base} would be made again: mail, publish; 10 steps taken over" in said
    error = (await ask("rebuild", base, "--change", "look", code=1))["error"]
    assert (error["code"], error["hint"]) == ("not_restartable", "did you mean 'looks'?")
    assert (await ask("rebuild", base, code=64))["error"]["message"] == "what has changed is not said"


async def test_a_run_is_made_again_from_its_steps(stage: Stage, ask: Ask) -> None:
    base = await built(stage, Builders())
    done = await ask("rerun", base, "--from", "mail", "--from", "legal", "--input", "n=7")
    assert done["impacted"] == ["legal", "page", "mail", "publish"]
    assert (await stage.result(done["run_id"])).status == "COMPLETED"
    dry = (await ask("rerun", base, "--from", "publish", "--dry-run", is_json=False)).out
    assert f"{base} would be made again: publish; 11 steps taken over" in dry
    error = (await ask("rerun", base, "--from", "publsh", code=3))["error"]
    assert (error["code"], error["hint"]) == ("step_not_found", "did you mean 'publish'?")
    error = (await ask("rerun", base, "--from", "zzz", code=3))["error"]
    assert error["hint"].startswith("it has brief, ")
    assert error["hint"].endswith(" and 4 more")
    assert (await ask("rerun", "run_nobody", "--from", "a", code=3))["error"]["code"] == "run_not_found"
    await ask("rerun", base, code=64)


async def test_many_runs_are_made_again(stage: Stage, ask: Ask) -> None:
    """By filters in place of a run; asked twice they are the same runs."""
    builders = Builders()
    await built(stage, builders)
    await built(stage, builders)
    said = await ask("rerun", "--workflow", "w", "--from", "mail", "--dry-run")
    assert said == {"dry_run": True, "runs": 2, "started": 2, "known": 0, "refused": 0}
    lines = (await ask("rerun", "--workflow", "w", "--from", "mail", "--limit", "1", "--dry-run", is_json=False)).out
    assert "1 run" in lines
    assert "would be made again: mail, publish" in lines
    of_ended = ("rerun", "--workflow", "w", "--status", "COMPLETED", "--from", "mail")
    assert (await ask(*of_ended))["started"] == 2

    async def count_ended() -> int:
        return len((await ask("runs", "--workflow", "w", "--status", "COMPLETED"))["runs"])

    await until(count_ended, lambda count: count == 4)
    said = await ask(*of_ended)
    assert (said["runs"], said["started"], said["known"]) == (4, 0, 4), "also what the same wish has made"
    error = (await ask("rerun", "--from", "mail", code=64))["error"]
    assert error["message"] == "which run is not said"
