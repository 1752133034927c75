"""The table of the security checklist is about the tests as they are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = "UI DEFINITIONS EXPRESSIONS SECRETS REDIS POSTGRES AUDIT SUPPLY LOGS FUZZ"
OF_API = [f"API{number}" for number in range(1, 11) if number != 6]
"""The sixth is about flows of a business; there is none here that people could abuse."""
ROWS = {*OF_API, *PARTS.split(), *(f"F{number}" for number in range(81, 99))}


class Held(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rows: tuple[str, ...]
    what: str
    tests: tuple[str, ...]


class Unmet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rows: tuple[str, ...]
    what: str
    why: str


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    holds: tuple[Held, ...]
    unmet: tuple[Unmet, ...] = ()


TABLE = msgspec.convert(tomllib.loads((ROOT / "tests" / "security.toml").read_text("utf-8")), type=Table)


def test_every_row_has_a_test() -> None:
    """Of what is unmet in a row the rest is held."""
    assert {row for one in TABLE.holds for row in one.rows} == ROWS
    assert {row for one in TABLE.unmet for row in one.rows} <= ROWS
    assert all(one.tests for one in TABLE.holds)


@pytest.mark.parametrize("test", sorted({test for one in TABLE.holds for test in one.tests}))
def test_a_test_is_there(test: str) -> None:
    """And is run where nobody asks for it, in one of its forms at least."""
    path, _, name = test.partition("::")
    text = (ROOT / path).read_text("utf-8")
    assert re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE), test
    assert f"@pytest.mark.long\nasync def {name}(" not in text, test
