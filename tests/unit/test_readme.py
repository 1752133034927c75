"""What README.md shows works: its workflows compile, its Python is Python, its commands exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from courante import compile_workflow, normalize
from courante.cli.main import ENTRIES
from courante.compiler.source import load_source

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
WORKFLOWS = [
    *re.findall(r"<<'END'\n(.*?)^END$", README, re.MULTILINE | re.DOTALL),
    *(text for kind, text in BLOCKS if kind == "yaml"),
]


@pytest.mark.parametrize("text", WORKFLOWS)
def test_its_workflows_compile(text: str) -> None:
    """Each workflow in the README compiles without a finding."""
    workflow, found = normalize(load_source(text).value)
    assert workflow is not None
    assert not [*found, *compile_workflow(workflow)[1]]


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "python"])
def test_its_python_parses(text: str) -> None:
    """Each piece of Python in the README is a module."""
    ast.parse(text)


def test_its_commands_exist() -> None:
    """Each command that the README calls is one of the command line's."""
    shell = "".join(text for kind, text in BLOCKS if kind == "sh")
    named = set(re.findall(r"^courante ([a-z]+)", shell, re.MULTILINE))
    assert named
    assert named <= set(ENTRIES)


def test_it_starts_with_ten_lines_that_work() -> None:
    """The first block is at most ten lines, and stands before anything else."""
    assert BLOCKS[0][1].count("\n") <= 10
    assert README.startswith("# Courante\n\n```sh\n")
