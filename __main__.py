"""``python -m courante``, and what the ``courante`` command calls."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line on ``sys.argv`` and exit with its code."""
    from .cli.main import run_cli

    sys.exit(run_cli(sys.argv[1:]))


if __name__ == "__main__":
    main()
