"""Tools: what reads the whole tree without running it, each with the one command line that is used everywhere.

``python scripts/tools.py [NAME ...]`` runs all of them, or those named; the exit code is 1 when one found anything.
``tests/style`` runs the same commands, so that CI is of the same opinion.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

TOOLS: dict[str, list[str]] = {
    "format": [f"{BIN}/ruff", "format", "--check", "--quiet", "."],
    "lint": [f"{BIN}/ruff", "check", "--quiet", "--output-format", "concise", "."],
    "mypy": [f"{BIN}/mypy", "--no-error-summary"],
    "pyright": [f"{BIN}/pyright", "--pythonpath", sys.executable],
    "imports": [f"{BIN}/lint-imports", "--no-cache", "--no-logo"],
    "sizes": [sys.executable, "scripts/sizes.py"],
    "bom": [sys.executable, "scripts/bom.py", "--check"],
}


def main(names: list[str]) -> int:
    failed: list[str] = []
    for name in names or TOOLS:
        print(f"-- {name}", flush=True)
        if subprocess.run(TOOLS[name], cwd=ROOT, check=False).returncode != 0:
            failed.append(name)
    if failed:
        print(f"not clean: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
