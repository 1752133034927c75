"""``python -m courante`` and the ``courante`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code. The import stands inside: importing this module starts nothing."""
    from .cli.main import run_cli

    sys.exit(run_cli(sys.argv[1:]))


if __name__ == "__main__":
    main()
