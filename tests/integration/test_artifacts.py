"""Artifacts: what steps make that is no JSON is stored once, is in the log's store, and can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from command_line import Said, spawn
from courante import Context
from courante.sdk.errors import ArtifactNotFound, RunNotFound
from courante.sdk.events import digest
from integration.http_site import Answer, asks, open_site
from integration.stage import Stage

pytestmark = pytest.mark.anyio
PICTURE = bytes(range(256)) * 4


async def draw(_given: object, context: Context) -> dict[str, Any]:
    """An artifact by itself, one in a large output, and the first once more."""
    small = await context.artifact(PICTURE, "image/png")
    other = await context.artifact(b"\x00other")
    return {"picture": small, "again": [small], "large": "x" * 20_000, "other": other}


async def badly(how: str, context: Context) -> object:
    return await context.artifact(b"x" * (17 * 1024 * 1024 if how == "large" else 1), "image/png" if how else "no type")


async def test_the_artifacts_of_a_run_can_be_read(stage: Stage) -> None:
    """From Redis, and when that has forgotten them from Postgres."""
    stage.worker({"draw": draw})
    stage.supervisor()
    done = await stage.run(await stage.register({"id": "a", "type": "function", "config": {"handler": "draw"}}))
    artifacts = stage.client.artifacts
    found = await artifacts.of_run(done.run_id)
    assert [(each.node, each.artifact.content_type, each.artifact.size_bytes) for each in found] == [
        ("a", "image/png", 1024),
        ("a", "application/octet-stream", 6),
    ]
    first, other = (each.artifact.digest for each in found)
    assert first == digest(PICTURE).hex() == done.output["a"]["picture"]["$artifact"]
    assert await artifacts.read(first) == PICTURE
    key = stage.client.keys.blob(first)
    await stage.redis.set(key, b"damaged")
    assert await artifacts.read(first) == PICTURE
    await stage.redis.delete(key)
    await stage.redis.delete(stage.client.keys.blob(other))
    assert await artifacts.read(first) == PICTURE
    assert await artifacts.read(other) == b"\x00other"
    for wrong in ("0" * 32, "../x", ""):
        with pytest.raises(ArtifactNotFound):
            await artifacts.read(wrong)
    with pytest.raises(RunNotFound):
        await artifacts.of_run("run_0")


async def test_an_artifact_that_cannot_be_kept_fails_the_step(stage: Stage) -> None:
    """Too large, or without a content type that is one."""
    stage.worker({"badly": badly})
    stage.supervisor()
    node = {"id": "a", "type": "function", "max_retries": 0, "config": {"handler": "badly"}}
    workflow = await stage.register(node)
    for how, type in (("large", "PAYLOAD_TOO_LARGE"), ("", "ValueError")):
        done = await stage.run(workflow, how)
        assert done.error is not None
        assert done.error["type"] == type


async def test_an_answer_can_be_an_artifact(stage: Stage) -> None:
    """As it came, with the content type that it had."""
    stage.worker(http_allow="127.0.0.1")
    stage.supervisor()
    async with open_site(lambda _: Answer(headers={"Content-Type": "image/png"}, body=PICTURE)) as site:
        workflow = await stage.register(asks(url="{{ input }}/x", response="artifact"))
        done = await stage.run(workflow, site.url)
    body = done.output["a"]["body"]
    assert body == {"$artifact": digest(PICTURE).hex(), "content_type": "image/png", "size_bytes": 1024}
    (found,) = await stage.client.artifacts.of_run(done.run_id)
    assert await stage.client.artifacts.read(found.artifact.digest) == PICTURE


APP = """
from courante import Context, step


@step("shop.draw")
async def draw(context: Context) -> dict[str, object]:
    return {"picture": await context.artifact(bytes(range(256)), "image/png")}
"""
FLOW = """
from courante import workflow

flow = workflow("drawing")
flow.step("draw", "shop.draw")
"""


def test_artifacts_on_the_command_line(redis_url: str, database: str, env_name: str, tmp_path: Path) -> None:
    """Listed, and fetched by the beginning of a digest; the workflow is a file in Python."""
    environ = {
        "COURANTE_REDIS_URL": redis_url,
        "COURANTE_DATABASE_URL": database,
        "COURANTE_ENV": env_name,
        "COURANTE_HOME": str(tmp_path / "home"),
    }
    (tmp_path / "shop.py").write_text(APP, encoding="utf-8")
    (tmp_path / "flow.py").write_text(FLOW, encoding="utf-8")

    def courante(*argv: str) -> Said:
        return spawn(*argv, cwd=tmp_path, environ=environ)

    ran = courante("run", "flow.py", "--app", "shop", "--json")
    assert ran.code == 0, ran.err
    run_id, address = ran.json["run_id"], digest(bytes(range(256))).hex()
    (found,) = courante("artifacts", run_id, "--json").json["artifacts"]
    assert (found["digest"], found["content_type"], found["step"]) == (address, "image/png", "draw")
    assert "image/png" in courante("artifacts", run_id).out
    said = courante("artifacts", run_id, address[:6], "--output", "picture.png", "--json")
    assert (said.code, (tmp_path / "picture.png").read_bytes()) == (0, bytes(range(256)))
    said = courante("artifacts", run_id, "f" * 32, "--json")
    assert (said.code, said.json["error"]["code"]) == (3, "artifact_not_found")
