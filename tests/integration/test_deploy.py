"""The deployment files: what can be checked of them without containers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from courante.sdk.embedded.binaries import find_redis
from courante.sdk.settings import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_services_start_in_order() -> None:
    """Postgres and Redis come first, then migrations, then the daemons."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services["migrate"]["depends_on"]) == {"postgres"}
    assert set(services["supervisor"]["depends_on"]) == {"postgres", "redis", "migrate"}
    assert services["supervisor"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["worker"]["depends_on"]["supervisor"]["condition"] == "service_healthy"


def test_the_example_environment_is_readable(tmp_path: Path) -> None:
    """Every COURANTE_ variable of the example is a setting, with a value that is allowed."""
    lines = re.findall(r"^(COURANTE_\w+)=(.+)$", (DEPLOY / ".env.example").read_text(), re.MULTILINE)
    environ = {name: value for name, value in lines if not name.startswith("COURANTE_APP")}
    settings, sources = load_settings({}, environ={**environ, "HOME": str(tmp_path)}, cwd=tmp_path)
    assert settings.concurrency == 128
    assert {sources[name.removeprefix("COURANTE_").lower()] for name in environ} == set(environ)


@pytest.mark.parametrize(("name", "appendonly"), [("redis.conf", "yes"), ("redis-dev.conf", "no")])
def test_redis_reads_its_configuration(name: str, appendonly: str, tmp_path: Path) -> None:
    """The server starts with each file; nothing is ever evicted; production persists, development does not."""
    config = (DEPLOY / "redis" / name).read_text()
    assert "maxmemory-policy noeviction" in config
    assert f"appendonly {appendonly}" in config
    binary = find_redis(prefer_system=False).path
    server = subprocess.Popen(
        [binary, DEPLOY / "redis" / name, "--port", "0", "--unixsocket", str(tmp_path / "s"), "--dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert any("ready to accept connections" in line.lower() for line in iter(server.stdout.readline, ""))
    finally:
        server.terminate()
        server.communicate(timeout=10)


def test_the_database_starts_empty() -> None:
    """The database's init file holds no schema."""
    text = (DEPLOY / "postgres" / "init.sql").read_text()
    assert all(line.startswith("--") for line in text.splitlines() if line)
