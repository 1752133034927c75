"""The scripts as files: each loads, says what it is, and is called from one place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from redis.asyncio import Redis

from courante.sdk.connections import connect_redis
from courante.sdk.floor.scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "lua").glob("*.lua"))
INCLUDES = sorted(path.stem for path in (ROOT / "lua" / "includes").glob("*.lua"))
PYTHON = [
    path.read_text("utf-8")
    for folder in ("cli", "replay", "runner", "sdk", "supervisor")
    for path in sorted((ROOT / folder).rglob("*.py"))
]

pytestmark = pytest.mark.anyio


def text_of(name: str) -> str:
    return (ROOT / "lua" / f"{name}.lua").read_text("utf-8")


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_script_is_lua(redis_url: str, name: str) -> None:
    """A real server compiles the script with its includes, under the names that we call it by."""
    redis: Redis = connect_redis(redis_url)
    script = load_script(name)
    try:
        assert await redis.script_load(script.source) in {script.sha, script.sha.encode()}
        loaded = await redis.execute_command("FUNCTION LOAD", "REPLACE", script.library.source)
        assert loaded in {script.library.name, script.library.name.encode()}
    finally:
        await redis.aclose()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_it_is(name: str) -> None:
    """The header names the script, its keys, what it returns and what it costs."""
    found = re.match(r"#!lua(?: flags=allow-oom)?\n--\[\[ (\w+): .*?\]\]", text_of(name), re.DOTALL)
    assert found is not None
    assert found[1] == name
    for word in ("KEYS[1]", "Returns", "Cost:"):
        assert word in found[0], word


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_one_caller(name: str) -> None:
    """One typed function wraps the script; everything else calls that."""
    assert sum(text.count(f'load_script("{name}")') for text in PYTHON) == 1


@pytest.mark.parametrize("name", INCLUDES)
def test_an_include_is_used_and_says_what_it_is(name: str) -> None:
    """An include begins with its own name, and a script or another include takes it in."""
    texts = [text_of(script) for script in SCRIPTS] + [text_of(f"includes/{other}") for other in INCLUDES]
    assert text_of(f"includes/{name}").startswith(f"-- {name}: ")
    assert any(re.search(rf"^-- @include {name}$", text, re.MULTILINE) for text in texts)
