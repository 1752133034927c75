"""The table of guards is about the code as it is."""

from __future__ import annotations

import re
import sys
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
GUARDS = TOOL.load_guards()


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: f"{guard.rows[0]}-{guard.file}")
def test_a_guard_stands_in_the_code(guard: Any) -> None:
    """Its text is there once, something else replaces it, and its test exists. Else change tests/guards.toml."""
    text = (ROOT / guard.file).read_text("utf-8")
    assert text.count(guard.text) == 1, f"{guard.file} does not have exactly once: {guard.text}"
    assert guard.without != guard.text
    path, _, name = guard.test.partition("::")
    name = name.partition("[")[0]
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), guard.test


def test_rows_are_of_the_catalogue() -> None:
    """A row that nobody knows guards nothing."""
    assert {row for guard in GUARDS for row in guard.rows} <= set(TOOL.ROWS)
