"""Mutation of guards: what stands between a fault of the catalogue and its harm is taken out, and a test must notice.

``python scripts/mutate_faults.py [--list] [ROW ...]``. The table is tests/guards.toml: per guard the rows of the fault
catalogue or of the security checklist, what it keeps, its file, its exact text (which stands there once), what stands
there without it, and the test that must fail then. Each test is first run with every guard in place. Rows that no code
of ours guards are listed there with the reason, and with the test that shows what happens.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "guards.toml"
ROWS = [f"F{number:02}" for number in (*range(1, 38), *range(41, 74))]
"""The fault catalogue but for its last part, input and edge."""
COPIED = (
    ".dev",
    "api",
    "bench",
    "cli",
    "compiler",
    "lua",
    "migrations",
    "replay",
    "runner",
    "scripts",
    "sdk",
    "supervisor",
)
COPIED_TOO = (
    "testing",
    "__init__.py",
    "__main__.py",
    "py.typed",
    "pyproject.toml",
    "test_data",
    "tests",
    "deploy",
    "docs",
)
FAILED, PASSED = 1, 0
"""Exit codes of pytest."""
TEST_S = 300.0
SHOWN_CHARS = 160


class Guard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``text``: stands in ``file`` once; ``without``: instead of it. ``test``: as pytest names it."""

    rows: tuple[str, ...]
    keeps: str
    file: str
    text: str
    without: str
    test: str


class Unguarded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``why`` nothing of ours can be taken out."""

    rows: tuple[str, ...]
    why: str
    test: str


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    guard: list[Guard]
    unguarded: list[Unguarded]


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutate-faults", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--list", action="store_true", help="show the table and the rows that have no guard in it")
    given = parser.parse_args()
    guards = load_table().guard
    if given.list:
        show(load_table())
        return 0
    chosen = [guard for guard in guards if not given.rows or set(guard.rows) & set(given.rows)]
    with tempfile.TemporaryDirectory(prefix="courante-guards-") as folder:
        return 1 if mutate(chosen, copy_tree(Path(folder))) else 0


def load_table() -> Table:
    return msgspec.convert(tomllib.loads(TABLE.read_text("utf-8")), type=Table)


def uncovered(table: Table) -> list[str]:
    """Rows of the catalogue that the table does not speak of."""
    known = {row for one in table.guard for row in one.rows} | {row for one in table.unguarded for row in one.rows}
    return [row for row in ROWS if row not in known]


def show(table: Table) -> None:
    for guard in sorted(table.guard, key=lambda guard: guard.rows):
        print(f"{','.join(guard.rows):<12} {guard.keeps}\n{'':<12} {guard.file}  {guard.test}")
    for one in table.unguarded:
        print(f"{','.join(one.rows):<12} NO GUARD: {one.why}\n{'':<12} {one.test}")
    print(f"{len(table.guard)} guards; rows of which nothing is said: {' '.join(uncovered(table)) or 'none'}")


def copy_tree(folder: Path) -> Path:
    """Copy what tests need; the link in .dev leads into the copy."""
    for name in (*COPIED, *COPIED_TOO):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, folder / name)
    return folder


def mutate(guards: list[Guard], tree: Path) -> list[str]:
    """Run every guard's test with it and without it; return what is wrong."""
    wrong: list[str] = []
    tests = sorted({guard.test for guard in guards})
    print(f"{len(tests)} tests with every guard in place", flush=True)
    if run(tree, tests)[0] != PASSED:
        broken = [test for test in tests if run(tree, [test])[0] != PASSED]
        wrong += [f"{test} fails with every guard in place" for test in broken]
        guards = [guard for guard in guards if guard.test not in broken]
    for guard in guards:
        began = time.monotonic()
        code, why = run_without(guard, tree)
        verdict = "noticed" if code == FAILED else "NOT NOTICED" if code == PASSED else f"NO TEST RAN (code {code})"
        print(f"{verdict:<12} {','.join(guard.rows):<10} {guard.keeps} ({time.monotonic() - began:.0f} s)")
        print(f"{'':<23} {why}", flush=True)
        if code != FAILED:
            wrong.append(f"{','.join(guard.rows)}: {guard.test} ({verdict}): {guard.keeps}")
    noticed = len(guards) - sum("NO" in line for line in wrong)
    print(f"{noticed} of {len(guards)} guards are held by their tests")
    print("\n".join(wrong), end="\n" if wrong else "")
    return wrong


def run_without(guard: Guard, tree: Path) -> tuple[int, str]:
    """Take one guard out of the copy, run its test, put it back. Return what ``run`` does."""
    path = tree / guard.file
    whole = path.read_text("utf-8")
    assert whole.count(guard.text) == 1, f"{guard.file} has {whole.count(guard.text)} times: {guard.text}"
    path.write_text(whole.replace(guard.text, guard.without), "utf-8")
    try:
        return run(tree, [guard.test])
    finally:
        path.write_text(whole, "utf-8")


def run(tree: Path, tests: list[str]) -> tuple[int, str]:
    """Return the exit code of pytest and the first error that it tells. A test that does not end in time has failed."""
    environ = os.environ | {"PYTHONPATH": str(tree / ".dev")}
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    limit = TEST_S * len(tests)
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(argv, cwd=tree, env=environ, check=False, stdout=output, stderr=output, timeout=limit)
        except subprocess.TimeoutExpired:
            return FAILED, f"has not ended in {limit:.0f} s"
        output.seek(0)
        said = output.read().decode("utf-8", "replace")
    if done.returncode not in {PASSED, FAILED}:
        print(said[-2_000:])
    told = re.search(r"^[ |]*E  +(.*)", said, re.MULTILINE)
    return done.returncode, told[1][:SHOWN_CHARS] if told else ""


if __name__ == "__main__":
    sys.exit(main())
