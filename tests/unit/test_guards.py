"""The table of guards is about the code as it is."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_tool() -> Any:
    """scripts/ is no package."""
    spec = spec_from_file_location("mutate_faults", ROOT / "scripts" / "mutate_faults.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


TOOL = load_tool()
TABLE = TOOL.load_table()
GUARDS = TABLE.guard
CHECKLIST: list[dict[str, Any]] = tomllib.loads((ROOT / "tests" / "security.toml").read_text("utf-8"))["holds"]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: f"{guard.rows[0]}-{guard.file}")
def test_a_guard_stands_in_the_code(guard: Any) -> None:
    """Its text is there once, something else replaces it, and its test exists. Else change tests/guards.toml."""
    text = (ROOT / guard.file).read_text("utf-8")
    assert text.count(guard.text) == 1, f"{guard.file} does not have exactly once: {guard.text}"
    assert guard.without != guard.text


@pytest.mark.parametrize("one", [*GUARDS, *TABLE.unguarded], ids=lambda one: f"{one.rows[0]}-{one.test}")
def test_a_test_names_its_rows(one: Any) -> None:
    """Who reads the catalogue finds the test by its docstring, and of the checklist by its table."""
    path, _, name = one.test.partition("::")
    text = (ROOT / path).read_text("utf-8")
    name = name.partition("[")[0]
    found = re.search(rf'^(?:async )?def {name}\(.*?\n    """(.*?)"""', text, re.MULTILINE | re.DOTALL)
    assert found, one.test
    listed = {row for held in CHECKLIST if f"{path}::{name}" in held["tests"] for row in held["rows"]}
    assert set(one.rows) - listed <= set(re.findall(r"F\d\d", found[1])), one.test
    assert f"@pytest.mark.long\nasync def {name}(" not in text, f"{one.test} is not run where nobody asks for it"


def test_every_row_of_the_catalogue_is_spoken_of() -> None:
    """It has a guard, or a reason why none can be taken out; and no row is in the table that nobody knows."""
    assert TOOL.uncovered(TABLE) == []
    known = {*TOOL.ROWS, *(row for held in CHECKLIST for row in held["rows"])}
    assert {row for one in (*GUARDS, *TABLE.unguarded) for row in one.rows} <= known
