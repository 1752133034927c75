"""The tools of ``scripts/check`` find nothing in this tree, and do find what they are there for."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS: dict[str, list[str]] = runpy.run_path(str(ROOT / "scripts" / "tools.py"))["TOOLS"]
PACKAGE = ("api", "bench", "cli", "compiler", "replay", "runner", "sdk", "supervisor", "testing")


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(cwd / ".dev")}
    return subprocess.run(
        command, cwd=cwd, env=environment, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package alone, without what stands beside it, in a place where it can be spoiled."""
    for name in ("__init__.py", "__main__.py", "py.typed", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in PACKAGE:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".dev").mkdir()
    (tmp_path / ".dev" / "courante").symlink_to("..")
    return tmp_path


@pytest.mark.parametrize("name", TOOLS)
def test_the_tree_is_clean(name: str) -> None:
    """No tool has anything to say about this tree."""
    done = run(TOOLS[name], ROOT)
    if done.returncode != 0:
        print(done.stdout)
        pytest.fail(f"not clean, see the output: scripts/check {name}", pytrace=False)


def test_a_folder_that_no_contract_names_is_found(copy: Path) -> None:
    """A new folder of the package has to take its place in the order of imports."""
    (copy / "surprise").mkdir()
    (copy / "surprise" / "__init__.py").touch()
    done = run(TOOLS["imports"], copy)
    assert done.returncode == 1
    assert "surprise" in done.stdout


@pytest.mark.parametrize(
    ("place", "line", "link"),
    [
        ("compiler", "from ..sdk import anything", "courante.compiler.seeded -> courante.sdk"),
        ("sdk", "from ..runner import settling", "courante.sdk.seeded -> courante.runner.settling"),
        ("runner", "from ..supervisor import anything", "courante.runner.seeded -> courante.supervisor"),
        ("replay", "from ..cli import anything", "courante.replay.seeded -> courante.cli"),
        ("compiler", "import socket", "courante.compiler.seeded -> socket"),
    ],
)
def test_an_import_against_the_order_is_found(copy: Path, place: str, line: str, link: str) -> None:
    """An import upwards or sideways breaks the contract, and the report names it."""
    (copy / place / "seeded.py").write_text(f"{line}\n")
    done = run(TOOLS["imports"], copy)
    assert done.returncode == 1
    assert link in done.stdout


def test_a_wrong_type_across_folders_is_found(copy: Path) -> None:
    """mypy sees the types of another folder through the package's own name and through a relative import."""
    (copy / "compiler" / "seeded.py").write_text('"""Seeded."""\n\nANSWER: int = 42\n')
    (copy / "sdk" / "relative.py").write_text("from ..compiler.seeded import ANSWER\n\nWRONG: str = ANSWER\n")
    (copy / "tests").mkdir()
    (copy / "tests" / "absolute.py").write_text("from courante.compiler.seeded import ANSWER\n\nWRONG: str = ANSWER\n")
    command = [*TOOLS["mypy"], ".dev/courante/sdk/relative.py", "tests/absolute.py", "--follow-imports=silent"]
    done = run(command, copy)
    assert done.returncode == 1, done.stdout
    assert done.stdout.count("Incompatible types in assignment") == 2, done.stdout


def test_what_is_too_long_is_found(tmp_path: Path) -> None:
    """A long file and a long function are named with their length, short ones are not."""
    (tmp_path / "sdk").mkdir()
    (tmp_path / "sdk" / "long.py").write_text("X = 1\n" * 401)
    body = "        x = 1\n" * 70
    (tmp_path / "sdk" / "function.py").write_text(
        f"class A:\n    def f(self):\n{body}\n    def g(self):\n        x = 1\n"
    )
    done = run([sys.executable, str(ROOT / "scripts" / "sizes.py"), str(tmp_path)], tmp_path)
    assert done.returncode == 1
    assert "sdk/long.py: 401 lines, at most 400" in done.stdout
    assert "sdk/function.py::A.f: 71 lines, at most 70" in done.stdout
    assert "A.g" not in done.stdout
