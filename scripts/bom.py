"""Bill of materials: every package that Courante is built from, runs with or is tested with, in CycloneDX 1.6.

``python scripts/bom.py`` writes bom.json; ``--check`` says whether it is of locked.txt and pyproject.toml as they are,
with exit code 1 where it is not. Nothing else is asked, so that the same tree gives the same bytes on every machine:
there is no time and no serial number in it. scope: required to run, optional with an extra, excluded: for tests only.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

DEVELOPMENT = frozenset({"dev"})
OWN = "pyproject.toml"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; (.+?))? \\$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_VENDORED = re.compile(r"^(\S+\.js) is \S+ of (\S+) (\d\S*) \(([^)]+)\)", re.MULTILINE)


@dataclass
class Locked:
    """``marker``: where it is installed, empty: everywhere. ``asked_by``: packages, and ``courante`` itself."""

    name: str
    version: str
    marker: str
    hashes: list[str] = field(default_factory=lambda: [])
    asked_by: list[str] = field(default_factory=lambda: [])

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


def read_locked(path: Path) -> list[Locked]:
    """Read a file that scripts/lock has written."""
    found: list[Locked] = []
    for line in path.read_text("utf-8").splitlines():
        if (pin := _PIN.match(line)) is not None:
            found.append(Locked(plain(pin[1]), pin[2], pin[3] or ""))
        elif (file := _HASH.search(line)) is not None:
            found[-1].hashes.append(file[1])
        elif found and (name := line.strip().removeprefix("#").strip().removeprefix("via").strip()):
            found[-1].asked_by.append("courante" if OWN in name else plain(name))
    return found


def plain(name: str) -> str:
    """Return the one spelling of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def bom(root: Path) -> str:
    """Return the bill of materials as JSON, a line for each component."""
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    locked = read_locked(root / "locked.txt")
    scopes = _scopes(project, locked)
    own = f"pkg:pypi/{project['name']}@{project['version']}"
    vendored = list(_vendored(root))
    needs: dict[str, list[str]] = defaultdict(list)
    for one in locked:
        for name in one.asked_by:
            needs[name].append(one.purl)
    needs["courante"] += [each["purl"] for each in vendored]
    told: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _component(project["name"], project["version"], own, "application")},
        "components": [*(_package(one, scopes[one.name]) for one in locked), *vendored],
        "dependencies": [
            {"ref": ref, "dependsOn": sorted(needs[name])}
            for ref, name in ((own, "courante"), *((one.purl, one.name) for one in locked))
        ],
    }
    return "{\n" + ",\n".join(f" {json.dumps(name)}: {_lines(value)}" for name, value in told.items()) + "\n}\n"


def _lines(value: object) -> str:
    if not isinstance(value, list):
        return json.dumps(value)
    return "[\n" + ",\n".join(f"  {json.dumps(each)}" for each in cast("list[object]", value)) + "\n ]"


def _component(name: str, version: str, purl: str, type: str = "library") -> dict[str, Any]:
    return {"type": type, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _package(one: Locked, scope: str) -> dict[str, Any]:
    marker = [{"name": "python:marker", "value": one.marker}] if one.marker else []
    told = {"scope": scope, "hashes": [{"alg": "SHA-256", "content": content} for content in one.hashes]}
    return _component(one.name, one.version, one.purl) | told | ({"properties": marker} if marker else {})


def _vendored(root: Path) -> Iterator[dict[str, Any]]:
    """Modules of the web page, as their licences name them."""
    text = (root / "api" / "web" / "vendor" / "LICENSES.txt").read_text("utf-8")
    for file, name, version, licence in _VENDORED.findall(text):
        purl = f"pkg:npm/{name.replace('@', '%40')}@{version}"
        yield _component(name, version, purl) | {
            "scope": "required",
            "licenses": [{"license": {"id": licence}}],
            "properties": [{"name": "courante:file", "value": f"api/web/vendor/{file}"}],
        }


def _scopes(project: dict[str, Any], locked: Iterable[Locked]) -> dict[str, str]:
    """What each package is there for, the strongest of its reasons."""
    below: dict[str, list[str]] = defaultdict(list)
    for one in locked:
        for name in one.asked_by:
            below[name].append(one.name)
    extras: dict[str, list[str]] = project["optional-dependencies"]
    optional = [name for extra, names in extras.items() if extra not in DEVELOPMENT for name in names]
    scopes = {one.name: "excluded" for one in locked}
    for scope, wanted in (("optional", optional), ("required", project["dependencies"])):
        ahead = [plain(re.split(r"[^\w.-]", text)[0]) for text in wanted]
        seen: set[str] = set()
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                scopes[name] = scope
                ahead += below[name]
    return scopes


def main(root: Path, *, is_check: bool) -> int:
    text, path = bom(root), root / "bom.json"
    if not is_check:
        path.write_text(text, "utf-8")
        return 0
    if path.exists() and path.read_text("utf-8") == text:
        return 0
    print("bom.json is not of locked.txt and pyproject.toml as they are: scripts/lock writes it")
    return 1


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--check"]
    sys.exit(main(Path(words[0]) if words else Path(__file__).resolve().parents[1], is_check="--check" in sys.argv))
