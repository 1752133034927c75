"""``python -m courante`` and the ``courante`` command."""

from __future__ import annotations

import os
import sys
import threading
import time

THREADS_S = 0.2


def main() -> None:
    """Run the command line and exit with its code. The import stands inside: importing this module starts nothing."""
    from .cli.main import run_cli

    code = run_cli(sys.argv[1:])
    if _is_held():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _is_held() -> bool:
    """Whether a plain step still runs in a thread: Python would wait for it, though we were told to end at once."""
    until = time.monotonic() + THREADS_S
    main_thread = threading.main_thread()
    while threads := [one for one in threading.enumerate() if one is not main_thread and not one.daemon]:
        if time.monotonic() > until:
            return True
        threads[0].join(0.01)
    return False


if __name__ == "__main__":
    main()
