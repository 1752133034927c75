"""Sizes: no file over 400 lines and no function over 70, but the ones named here with their reason.

``python scripts/sizes.py [ROOT]`` prints what is too long, and exceptions that are no longer needed; exit code 1 when
there is anything to print.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
SUFFIXES = (".py", ".lua", ".sql")
PLACES = (
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
    "testing",
    "tests",
)

EXCEPTIONS: dict[str, str] = {}
"""Path, or path and function as ``path::function``, and why it may be longer."""


def main(root: Path) -> int:
    measured = dict(measure(root))
    findings = [f"{name}: {lines} lines, at most {most}" for name, (lines, most) in measured.items()]
    kept = [finding for finding, name in zip(findings, measured, strict=True) if name not in EXCEPTIONS]
    kept += [f"{name}: an exception that nothing needs any more" for name in EXCEPTIONS if name not in measured]
    print("\n".join(kept), end="\n" if kept else "")
    return 1 if kept else 0


def measure(root: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Everything that is too long: its name, its lines and the most that it may have."""
    for path in sorted(file for place in PLACES for file in (root / place).rglob("*") if file.suffix in SUFFIXES):
        name = path.relative_to(root).as_posix()
        text = path.read_text("utf-8")
        if (lines := text.count("\n")) > FILE_LINES_MAX:
            yield name, (lines, FILE_LINES_MAX)
        if path.suffix == ".py":
            for function, length in _functions(ast.parse(text), ""):
                if length > FUNCTION_LINES_MAX:
                    yield f"{name}::{function}", (length, FUNCTION_LINES_MAX)


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not isinstance(child, ast.ClassDef):
                yield prefix + child.name, (child.end_lineno or child.lineno) - child.lineno + 1
            yield from _functions(child, f"{prefix}{child.name}.")
        else:
            yield from _functions(child, prefix)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent))
