"""Packages come with the hashes of their files, are told in a bill of materials, and are held against what is known."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
import threading
import tomllib
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import jsonschema_rs
import pytest
from packaging.markers import Marker

ROOT = Path(__file__).resolve().parents[2]
BOM: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "bom.py"))
LOCKED: list[Any] = BOM["read_locked"](ROOT / "locked.txt")
PARTS = ("locked.txt", "deploy/locked.txt", "deploy/build.txt", "scripts/lock.txt")
KNOWN = "PYSEC-2026-1"
VULNERABLE = "click"


def names_of(part: str) -> dict[str, Any]:
    return {one.name: one for one in BOM["read_locked"](ROOT / part)}


@pytest.mark.parametrize("part", PARTS)
def test_everything_that_is_asked_for_is_locked_with_hashes(part: str) -> None:
    """Each package has one version and hashes of its files; no place to get it from is named, and nothing looser."""
    text = (ROOT / part).read_text("utf-8")
    assert "://" not in text
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert all(
        re.fullmatch(r"[a-z0-9._-]+==\S+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines
    )
    found = BOM["read_locked"](ROOT / part)
    assert all(one.hashes for one in found)
    assert max(Counter(one.name for one in found).values()) == 1
    if part == "locked.txt":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        extras: dict[str, list[str]] = project["optional-dependencies"]
        wanted = [*project["dependencies"], *(name for extra in extras.values() for name in extra)]
        assert {BOM["plain"](re.split(r"[^\w.-]", name)[0]) for name in wanted} <= {one.name for one in found}


def test_versions_are_the_same_everywhere() -> None:
    """constraints.txt and the parts say what locked.txt says, and of the same files."""
    pins = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if "==" in line]
    assert pins == [f"{one.name}=={one.version}" for one in LOCKED]
    whole = {one.name: one for one in LOCKED}
    for part in ("deploy/locked.txt", "deploy/build.txt"):
        for name, one in names_of(part).items():
            assert (one.version, one.hashes) == (whole[name].version, whole[name].hashes), (part, name)


def test_what_is_installed_is_what_is_locked() -> None:
    """These tests run with the locked versions; whatever else is there came from nowhere."""
    wanted = {one.name: one.version for one in LOCKED if _is_for_here(one.marker)}
    assert {name: _installed(name) for name in wanted} == wanted, "scripts/test installs them"


def _is_for_here(marker: str) -> bool:
    return not marker or Marker(marker).evaluate()


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def test_nothing_is_installed_without_a_hash() -> None:
    """Whoever installs from an index says --require-hashes; the package itself is built without asking one."""
    commands: list[str] = []
    for place in ("scripts/environment.sh", "scripts/lock", "deploy/Dockerfile"):
        text = (ROOT / place).read_text("utf-8").replace("\\\n", " ")
        commands += re.findall(r'\bpip"? (?:install|wheel) [^&>\n]+', text)
    assert len(commands) >= 6
    loose = [each for each in commands if "--require-hashes" not in each and "--no-index --no-deps" not in each]
    assert loose == []


def test_containers_get_a_part_of_it() -> None:
    """The image has what runs, and no tool of ours."""
    scopes = {each["name"]: each["scope"] for each in json.loads((ROOT / "bom.json").read_text("utf-8"))["components"]}
    part = names_of("deploy/locked.txt")
    assert {"redis", "asyncpg", "prometheus-client", "opentelemetry-sdk"} <= part.keys()
    assert {scopes[name] for name in part} == {"required", "optional"}
    assert {name for name, scope in scopes.items() if scope == "required"} <= part.keys() | {"htm", "@dagrejs/dagre"}


def test_the_bill_of_materials_names_everything_once() -> None:
    """By the rules of CycloneDX: every locked package and vendored module, what needs it, and what it is there for."""
    bill = json.loads((ROOT / "bom.json").read_text("utf-8"))
    found = [each["bom-ref"] for each in bill["components"]]
    vendored = [path.name for path in (ROOT / "api" / "web" / "vendor").glob("*.js")]
    assert len(found) == len(set(found)) == len(LOCKED) + len(vendored)
    assert {one.purl for one in LOCKED} <= set(found)
    told = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    own = bill["metadata"]["component"]["bom-ref"]
    reached, ahead = {own}, [own]
    while ahead:
        fresh = set(told.get(ahead.pop(), ())) - reached
        reached |= fresh
        ahead += fresh
    assert reached == {own, *found}, "nothing is there that nobody asks for"
    scopes = {each["name"]: each["scope"] for each in bill["components"]}
    assert {name: scopes[name] for name in ("redis", "h11", "cryptography", "cffi", "pytest")} == {
        "redis": "required", "h11": "required", "cryptography": "optional", "cffi": "optional", "pytest": "excluded",
    }  # fmt: skip
    rules = files("cyclonedx.schema") / "_res"
    read = {name: json.loads((rules / name).read_text("utf-8")) for name in SCHEMAS}
    registry = jsonschema_rs.Registry([(urljoin(read[SCHEMAS[0]]["$id"], name), read[name]) for name in SCHEMAS[1:]])
    jsonschema_rs.validator_for(read[SCHEMAS[0]], registry=registry).validate(bill)


SCHEMAS = ("bom-1.6.SNAPSHOT.schema.json", "spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")


def test_a_stale_bill_is_found(tmp_path: Path) -> None:
    """Another version in locked.txt, or none of a bill at all, and the check says who writes it."""
    for name in ("pyproject.toml", "locked.txt", "bom.json", "api/web/vendor/LICENSES.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    check = [sys.executable, str(ROOT / "scripts" / "bom.py"), "--check", str(tmp_path)]
    assert subprocess.run(check, check=False).returncode == 0
    text = (tmp_path / "locked.txt").read_text("utf-8")
    (tmp_path / "locked.txt").write_text(re.sub(r"^redis==\S+", "redis==0.1", text, flags=re.MULTILINE), "utf-8")
    done = subprocess.run(check, check=False, capture_output=True, text=True)
    assert (done.returncode, "scripts/lock writes it" in done.stdout) == (1, True)


class Database(BaseHTTPRequestHandler):
    """Knows of one vulnerable package; what it is asked and answers is of the API of OSV."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = {"id": KNOWN, "summary": "s", "affected": [{"package": asked["package"], "ranges": [FIXED]}]}
        told = {"vulns": [found]} if asked["package"]["name"] == VULNERABLE else {}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


FIXED = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}


@pytest.fixture
def osv_url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Database)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    thread.join()
    server.server_close()


def scan(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "scan.py"), "--osv-url", url]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_a_vulnerable_package_is_found(osv_url: str) -> None:
    """Every package that is for here is looked up; the one that is known is told, with where it is mended."""
    done = scan(osv_url)
    (told, summary) = done.stdout.splitlines()
    assert done.returncode == 1
    assert re.fullmatch(rf"{VULNERABLE} \S+: {KNOWN}, mended in 99\.0", told), told
    assert summary == f"{sum(_is_for_here(one.marker) for one in LOCKED)} packages, 1 findings"


def test_a_scan_that_reaches_nobody_says_so() -> None:
    """In capitals, and it is no failure."""
    done = scan("http://127.0.0.1:9/v1/query")
    assert (done.returncode, done.stdout[:12]) == (0, "SCAN SKIPPED")
