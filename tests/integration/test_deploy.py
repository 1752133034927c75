"""The deployment files: what can be checked of them without containers."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import yaml
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from command_line import clean_environ, spawn
from courante.sdk.embedded.binaries import find_redis
from courante.sdk.http.reach import not_public
from courante.sdk.settings import load_settings
from integration.stage import Place, open_stage
from integration.whole_life import live

DEPLOY = Path(__file__).parents[2] / "deploy"
USERS = DEPLOY / "redis" / "users.acl"


def test_services_start_in_order() -> None:
    """Postgres and Redis come first, then migrations, then the daemons."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services["migrate"]["depends_on"]) == {"postgres"}
    assert set(services["supervisor"]["depends_on"]) == {"postgres", "redis", "migrate"}
    assert services["supervisor"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["worker"]["depends_on"]["supervisor"]["condition"] == "service_healthy"
    assert services["api"]["depends_on"] == services["supervisor"]["depends_on"]


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


@pytest.mark.anyio
async def test_the_engine_works_with_a_user_of_few_commands(
    redis_url: str, migrated_database: str, env_name: str
) -> None:
    """Nothing of a run, by clock, signal and function, is refused to the engine; what it has no need of is."""
    rules = next(line for line in USERS.read_text().splitlines() if line.startswith("user courante "))
    user, password, *given = f"u{env_name}", secrets.token_hex(16), *rules.split()[2:]
    owner = Redis.from_url(redis_url)
    await owner.execute_command("ACL", "SETUSER", user, *(word for word in given if word[0] != ">"), f">{password}")
    try:
        place = Place(redis_url.replace("://", f"://{user}:{password}@", 1), migrated_database, env_name)
        async with open_stage(place) as stage:
            await live(stage)
            for words in (["FLUSHALL"], ["KEYS", "*"], ["CONFIG", "SET", "maxmemory", "1"], ["GET", "other:x"]):
                with pytest.raises(NoPermissionError):
                    await stage.redis.execute_command(*words)
        entries = cast("list[dict[str, Any]]", await owner.execute_command("ACL LOG"))
        refused = {entry["object"] for entry in entries if entry["username"] == user}
        assert refused == {"flushall", "keys", "config|set", "other:x"}
    finally:
        await owner.execute_command("ACL", "DELUSER", user)
        await owner.aclose()


def test_containers_may_do_little() -> None:
    """Those of ours are nobody, gain no rights, and write nowhere but to memory."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for place in ("Dockerfile", "egress/Dockerfile"):
        assert re.search(r"^USER (?!root)\w+$", (DEPLOY / place).read_text(), re.MULTILINE)
    for name in ("migrate", "supervisor", "worker", "api", "egress"):
        service = services[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(mount.endswith(":ro") for mount in service.get("volumes", ())), name


def test_passwords_stay_out_of_images_and_history() -> None:
    """The file with the passwords, which the example asks for, is neither sent to the builder nor committed."""
    for name in (".dockerignore", ".gitignore"):
        assert ".env" in (DEPLOY.parent / name).read_text().split(), name


def test_nothing_leads_outside_but_the_gateway() -> None:
    """All stand in a network that leads nowhere; one of them in another one too, and daemons call through that one."""
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = composed["services"]
    assert composed["networks"]["inside"]["internal"] is True
    assert all("inside" in service["networks"] for service in services.values())
    second = {name: service["networks"][1:] for name, service in services.items() if service["networks"] != ["inside"]}
    assert second == {"egress": ["outside"], "api": ["reached"]}
    assert composed["networks"]["reached"]["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    ways = {
        "network_mode",
        "extra_hosts",
        "dns",
        "links",
        "external_links",
        "privileged",
        "cap_add",
        "devices",
    }
    assert [name for name, service in services.items() if ways & service.keys()] == []
    port = re.search(r"^http_port (\d+)$", (DEPLOY / "egress" / "squid.conf").read_text(), re.MULTILINE)
    assert port is not None
    for name in ("supervisor", "worker", "api"):
        environment = services[name]["environment"]
        assert environment["COURANTE_HTTP_PROXY"] == f"http://egress:{port[1]}", name
        assert environment["COURANTE_HTTP_ALLOW"] == services["egress"]["environment"]["EGRESS_HOSTS"], name
    assert services["egress"]["environment"]["EGRESS_HOSTS"] == "${EGRESS_HOSTS:-}", "nothing is reached by default"


def test_nothing_is_reached_but_the_api() -> None:
    """At one port, from this machine."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "api": ["127.0.0.1:${COURANTE_API_PORT:-8420}:8420"]
    }


def test_the_api_of_the_example_asks_for_a_key(
    redis_url: str, migrated_database: str, env_name: str, tmp_path: Path
) -> None:
    """Its own command, environment and probe: it does not start without a key, is ready with one, and says no more."""
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["api"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    words = [word.replace("8420", port) for word in service["command"]]
    named = {name: _by_default(word) for name, word in service["environment"].items()}
    own = {"COURANTE_DATABASE_URL": migrated_database, "COURANTE_REDIS_URL": redis_url, "COURANTE_ENV": env_name}
    environ = {**named, **own, "COURANTE_METRICS_PORT": "0"}
    refused = spawn(*words, "--json", cwd=tmp_path, environ=environ)
    assert (refused.code, refused.json["error"]["code"]) == (2, "api_keys_missing"), refused
    made = spawn("keys", "create", "me", "--scope", "read", "--json", cwd=tmp_path, environ=environ)
    probe = [word.replace("8420", port) for word in service["healthcheck"]["test"][1:]]
    probe[0] = sys.executable
    assert subprocess.run(probe, capture_output=True, check=False).returncode != 0, "nothing listens yet"
    with subprocess.Popen(
        [sys.executable, "-m", "courante", *words, "--json"], env=clean_environ() | environ, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            assert subprocess.run(probe, capture_output=True, check=False).returncode == 0
            url, key = f"http://127.0.0.1:{port}/v1/runs", made.json["key"]
            assert httpx.get(url).status_code == 401
            assert httpx.get(url, headers={"Authorization": f"Bearer {key}"}).status_code == 200
            assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 421
        finally:
            process.terminate()
            process.wait(timeout=30)


def _by_default(word: str) -> str:
    """What compose makes of ``${NAME:-word}`` and ``${NAME:?why}`` where nothing is named."""
    return re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", word)


@pytest.mark.parametrize(
    ("written", "read"),
    [("", [""]), ("a.example", ["a.example"]), ("a.example, *.b.example ,c", ["a.example", ".b.example", "c"])],
)
def test_the_gateway_reads_the_list(written: str, read: list[str], tmp_path: Path) -> None:
    """As the setting has it, so the proxy has it in its own words."""
    line = re.search(r"^CMD (.+)$", (DEPLOY / "egress" / "Dockerfile").read_text(), re.MULTILINE)
    assert line is not None
    *shell, command = json.loads(line[1])
    command = command.replace("/tmp/hosts", str(tmp_path / "hosts")).replace("exec squid", "exec echo")
    subprocess.run([*shell, command], check=True, env={"PATH": os.environ["PATH"], "EGRESS_HOSTS": written}, stdout=-3)
    assert (tmp_path / "hosts").read_text().split("\n")[:-1] == read


REFUSED = (
    ("GET", "http://other.example/"),
    ("GET", "http://shop.example.evil.example/"),
    ("GET", "http://shop.example:8080/"),
    ("GET", "http://localhost/"),
    ("GET", "http://127.0.0.1/"),
    ("GET", "http://169.254.169.254/latest/meta-data/"),
    ("GET", "http://[::1]/"),
    ("CONNECT", "shop.example:22"),
    ("CONNECT", "shop.example:80"),
    ("CONNECT", "other.example:443"),
    ("CONNECT", "10.0.0.1:443"),
    ("CONNECT", "localhost:443"),
)
"""``localhost`` is in the list: it leads inside all the same."""


def test_the_gateway_refuses_what_is_not_named() -> None:
    """A real squid with the file of the example: 403 for what is not named, another port, and all that is inside."""
    squid = shutil.which("squid") or shutil.which("squid", path="/usr/sbin")
    if squid is None:
        pytest.skip("NO SQUID: the rules of the example's proxy are not tried; install squid")
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as free:
        folder, port = Path(name), free.getsockname()[1]
        folder.chmod(0o777)  # where root starts it, it becomes somebody else
        (folder / "hosts").write_text("shop.example\n.b.example\nlocalhost\n127.0.0.1\n")
        rules = (DEPLOY / "egress" / "squid.conf").read_text().replace("/tmp/hosts", f"{folder}/hosts")
        rules = rules.replace("http_port 3128", f"http_port 127.0.0.1:{port}").replace("/dev/stdout", f"{folder}/said")
        (folder / "squid.conf").write_text(rules)
        free.close()
        server = subprocess.Popen([squid, "-N", "-f", folder / "squid.conf"], stderr=subprocess.PIPE, text=True)
        try:
            while not _listens(port):
                assert server.poll() is None, server.communicate()[1]
            assert [(*asked, status) for asked in REFUSED if (status := _status(port, *asked)) != 403] == []
            for asked in (
                ("GET", "http://shop.example/"),
                ("GET", "http://x.b.example/"),
                ("CONNECT", "shop.example:443"),
            ):
                assert _status(port, *asked) in {500, 502, 503}, f"{asked} is let through, to a name that nobody knows"
        finally:
            server.terminate()
            server.communicate(timeout=30)


INNER = (
    "0.0.0.1 10.0.0.1 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 192.0.0.1 192.0.2.1 192.168.0.1 198.18.0.1 "
    "198.51.100.1 203.0.113.1 224.0.0.1 255.255.255.255 ::1 ::10.0.0.1 64:ff9b::a00:1 64:ff9b:1::1 100::1 "
    "2001:0:4136:e378:8000:63bf:f5ff:fffe 2001:db8::1 2002:a00:1::1 fc00::1 fe80::1 fec0::1 ff02::1"
).split()
"""One of each network that workers call no address of by themselves; 2001:0: and 2002: lead to 10.0.0.1."""


@pytest.mark.parametrize("address", INNER)
def test_the_gateway_calls_no_address_that_workers_would_not(address: str) -> None:
    """What a name leads to is refused by the proxy as it is without one."""
    rules = (DEPLOY / "egress" / "squid.conf").read_text()
    networks = [
        ip_network(each) for line in re.findall(r"^acl inside dst (.+)$", rules, re.MULTILINE) for each in line.split()
    ]
    assert not_public(ip_address(address))
    assert any(ip_address(address) in network for network in networks)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.1).close()
    except OSError:
        time.sleep(0.02)
        return False
    return True


def _status(port: int, method: str, target: str) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])


def test_daemons_do_not_own_the_database() -> None:
    """Who migrates is the owner; daemons connect as the role that is granted what they need, with its own password."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    made = re.findall(
        r"^CREATE ROLE (\w+) LOGIN PASSWORD :'(\w+)';$", (DEPLOY / "postgres" / "roles.sql").read_text(), re.MULTILINE
    )
    assert [name for name, _ in made] == ["courante_append", "courante_read"]
    migrates = services["migrate"]
    assert migrates["command"] == ["migrate", "--append-role", "courante_append", "--read-role", "courante_read"]
    assert "${POSTGRES_PASSWORD" in migrates["environment"]["COURANTE_DATABASE_URL"]
    for name in ("supervisor", "worker", "api"):
        assert "//courante_append:${APPEND_PASSWORD" in services[name]["environment"]["COURANTE_DATABASE_URL"], name
        assert "${POSTGRES_PASSWORD" not in str(services[name]["environment"]), name


def test_the_file_of_roles_can_be_read(database: str) -> None:
    """By psql, as the container does it: two roles that may log in, with passwords of the environment."""
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("NO PSQL: the file of roles is not read; install postgresql-client")
    tag = f"t{secrets.token_hex(6)}_"
    roles = (DEPLOY / "postgres" / "roles.sql").read_text().replace("courante_", tag)
    asks = "SELECT rolname FROM pg_authid WHERE rolcanlogin AND rolpassword LIKE 'SCRAM%';"
    done = subprocess.run(
        [psql, "-X", "-qAt", "-v", "ON_ERROR_STOP=1", database],
        input=f"BEGIN;\n{roles}\n{asks}\nROLLBACK;",
        env=os.environ | {"APPEND_PASSWORD": "it's", "READ_PASSWORD": 'a "word"'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, set(done.stdout.split())) == (0, {f"{tag}append", f"{tag}read"}), done.stderr


def test_the_database_starts_empty() -> None:
    """The database's init file holds no schema."""
    text = (DEPLOY / "postgres" / "init.sql").read_text()
    assert all(line.startswith("--") for line in text.splitlines() if line)
