"""The minder of an MCP server that a worker has started: it ends the server when the worker is gone, however it went.

``python minder.py COMMAND ...`` runs the command with its own standard input and output. Nothing is read from either.
When the other end of the input is closed, by a worker that has done with the server or by its death, the server has
``GRACE_S`` to end by itself; then its whole process group is killed.
A script of its own, which imports nothing of ours.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

GRACE_S = 2.0
"""As long as a client of MCP waits before it ends a server."""
LOOK_S = 1.0
"""Between two looks for a parent that is gone, where no end of the input tells."""


def main(command: list[str]) -> int:
    parent = os.getppid()
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for each in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):  # those for the group are for the server to obey
        signal.signal(each, _wake_only)
    try:
        server = subprocess.Popen(command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 - nobody else could tell
        return 127
    ends: float | None = None
    poll = select.poll()
    poll.register(awake, select.POLLIN)
    poll.register(0, 0)
    while server.poll() is None:
        if ends is None and os.getppid() != parent:
            ends = time.monotonic() + GRACE_S
        for number, _ in poll.poll(1000 * LOOK_S if ends is None else max(0, 1000 * (ends - time.monotonic()))):
            if number == awake:
                os.read(awake, 4096)
            elif ends is None:  # the other end is closed
                ends = time.monotonic() + GRACE_S
                poll.unregister(0)
        if ends is not None and time.monotonic() >= ends:
            break
    _kill_group()
    return server.wait()


def _wake_only(number: int, frame: object) -> None:
    """The number has gone into the pipe."""
    del number, frame


def _kill_group() -> None:
    """End what the server has left behind, and this process with it, where it leads its group."""
    if os.getpgrp() == os.getpid():
        with suppress(ProcessLookupError):
            os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
