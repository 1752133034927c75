"""``courante api`` with keys: as a process, asked over a socket."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from command_line import clean_environ, spawn

PATIENCE_S = 30.0


@pytest.fixture
def environ(redis_url: str, migrated_database: str, env_name: str) -> dict[str, str]:
    return {
        "COURANTE_REDIS_URL": redis_url,
        "COURANTE_DATABASE_URL": migrated_database,
        "COURANTE_ENV": env_name,
        "COURANTE_API_KEY_REQUIRED": "true",
        "COURANTE_LOG_LEVEL": "debug",
    }


@contextmanager
def serving(environ: dict[str, str], cwd: Path) -> Generator[tuple[str, Path]]:
    """The URL of a server, and the file with all that it says."""
    said = cwd / "said"
    with said.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "courante", "api", "--port", "0", "--json"],
            cwd=cwd,
            env=clean_environ() | environ,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        line = ""
        try:
            line = process.stdout.readline()
            assert line, said.read_text()
            yield json.loads(line)["api"]["url"], said
        finally:
            process.terminate()
            rest, _ = process.communicate(timeout=PATIENCE_S)
            errors.write(line + rest)


def test_without_a_key_it_does_not_start_where_one_is_asked_for(environ: dict[str, str], tmp_path: Path) -> None:
    """It says what to do; the exit code is that of a service that cannot be used."""
    said = spawn("api", "--port", "0", "--json", cwd=tmp_path, environ=environ)
    assert (said.code, said.json["error"]["code"]) == (2, "api_keys_missing")
    assert said.json["error"]["hint"] == "make one: courante keys create NAME --scope admin"
    up = spawn("up", "--json", cwd=tmp_path, environ=environ | {"COURANTE_HOME": str(tmp_path)})
    assert (up.code, up.json, up.out.count("\n")) == (2, said.json, 1)


def test_from_a_key_to_its_revocation(environ: dict[str, str], tmp_path: Path) -> None:
    """A running server hears of it within seconds; and no key is in anything that it says."""
    made = spawn("keys", "create", "ci", "--scope", "read", "--json", cwd=tmp_path, environ=environ).json
    bearer = {"Authorization": f"Bearer {made['key']}"}
    with serving(environ, tmp_path) as (url, said), httpx.Client(base_url=url) as client:
        assert client.get("/v1/workflows").status_code == 401
        assert client.get("/v1/workflows", headers=bearer).status_code == 200
        assert client.post("/v1/workflows", headers=bearer, json={}).status_code == 403
        session = client.post("/v1/login", json={"key": made["key"]})
        assert client.get("/v1/session").json()["name"] == "ci"
        client.post("/v1/login", content=f'{{"key": {made["key"]}', headers={"Content-Type": "application/json"})
        client.get(f"/v1/workflows?key={made['key']}", headers=bearer)
        assert spawn("keys", "revoke", "ci", cwd=tmp_path, environ=environ).code == 0
        deadline = time.monotonic() + PATIENCE_S
        while client.get("/v1/workflows", headers=bearer).status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert client.get("/v1/session").status_code == 401
    told = said.read_text()
    token = session.headers["set-cookie"].partition("=")[2].partition(";")[0]
    for secret in (made["key"].rpartition("_")[2], token, session.json()["csrf"]):
        assert secret not in told


def test_the_operator_log_tells_who_it_was(environ: dict[str, str], tmp_path: Path) -> None:
    """Over HTTP, to who may know it."""
    made = spawn("keys", "create", "boss", "--scope", "admin", "--by", "ada", "--json", cwd=tmp_path, environ=environ)
    bearer = {"Authorization": f"Bearer {made.json['key']}"}
    with serving(environ, tmp_path) as (url, _), httpx.Client(base_url=url, headers=bearer) as client:
        client.post("/v1/workflows", json={}, headers={"X-Forwarded-For": "192.0.2.9"})  # nobody's proxy says so
        assert client.get("/", headers={"X": "y" * 40_000}).status_code == 431
        page = client.get("/v1/operators").json()
    assert [(each["by"], each["action"], each["result"]) for each in page["operations"]] == [
        ("boss", "POST /v1/workflows", "422"),
        ("ada", "key.created", "done"),
    ]
    assert page["operations"][0]["address"] == "127.0.0.1"
    told = spawn("audit", "operators", "--limit", "1", "--json", cwd=tmp_path, environ=environ).json
    assert told["operations"] == page["operations"][:1]
    table = spawn("audit", "operators", "--by", "ada", cwd=tmp_path, environ=environ).out
    assert "key.created crt_" in table
    assert "boss" not in table
    assert spawn("audit", "operators", "--cursor", "x", cwd=tmp_path, environ=environ).code == 64
