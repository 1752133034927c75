"""The nursery: one process that has loaded everything, and forks commands and the members of scenarios.

What a command, a worker or a supervisor imports takes longer than what most tests do with it. What is forked is a
process of its own as any other: with its own environment, folder, session, streams and process id, and killed, frozen
and thawed by that. It begins where ``python -m`` would, with the imports behind it. ``scripts/chaos`` starts everything
by exec instead.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module, reload
from types import FrameType
from typing import NoReturn

import msgspec

from courante.sdk import fault_points
from courante.sdk.embedded.identity import before_exec, own_identity

WORDS_BYTES_MAX = 200_000
"""Of one request: an environment, mostly."""
LOADED_S = 60.0
STREAMS = 3
UMASK = 0o022
"""The usual one: a file that must be private is made so by who writes it."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What shall be run, as whom, and where. Its three streams are sent along."""

    module: str
    words: list[str]
    environ: dict[str, str]
    cwd: str


class Nursling:
    """A process that a nursery has forked, with the face of ``subprocess.Popen``. Made by ``Nursery.start``."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid

    def poll(self) -> int | None:
        """Its exit code; minus the signal's number where one ended it; None while it runs."""
        return self._nursery.code_of(self.pid)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended. Blocks. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError
            self._nursery.listen(0.01)
        return code


class Nursery:
    """Starts at once; the first ``start`` waits until everything is loaded. ``close`` ends all that it has forked.

    ``loaded``: the modules that it has in memory. May be used from any thread.
    """

    def __init__(self, environ: Mapping[str, str], loaded: Sequence[str]) -> None:
        self._channel, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.RLock()
        self._codes: dict[int, int] = {}
        self._started: list[int] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nursery", str(far.fileno()), *loaded],
            stdin=subprocess.DEVNULL,
            env=environ,
            cwd="/",
            pass_fds=(far.fileno(),),
            start_new_session=True,
        )
        far.close()

    def start(
        self, module: str, words: Sequence[str], environ: Mapping[str, str], streams: Sequence[int], cwd: str = "/"
    ) -> Nursling:
        """Run a module as ``python -m`` does. streams: what becomes its stdin, stdout and stderr; ours stay open."""
        request = Request(module=module, words=list(words), environ=dict(environ), cwd=cwd)
        with self._lock:
            socket.send_fds(self._channel, [msgspec.json.encode(request)], streams)
            deadline = time.monotonic() + LOADED_S
            while not self._started:
                assert time.monotonic() < deadline, "the nursery does not answer"
                assert self._process.poll() is None, "the nursery has ended"
                self.listen(0.1)
            return Nursling(self, self._started.pop())

    def code_of(self, pid: int) -> int | None:
        self.listen(0)
        return self._codes.get(pid)

    def listen(self, timeout_s: float) -> None:
        """Hear of starts and ends, all that are told by now; wait for the first one at most so long."""
        with self._lock:
            while select.select([self._channel], [], [], timeout_s)[0]:
                heard = self._channel.recv(WORDS_BYTES_MAX)
                assert heard, "the nursery has ended"
                told: dict[str, int] = json.loads(heard)
                if "code" in told:
                    self._codes[told["pid"]] = told["code"]
                else:
                    self._codes.pop(told["pid"], None)  # of an older process with this number
                    self._started.append(told["pid"])
                timeout_s = 0

    def close(self) -> None:
        self._channel.close()
        self._process.kill()
        self._process.wait()


def main() -> None:
    """Load, then fork whatever is asked for, until nobody is there who could ask."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        import_module(name)
    gc.collect()
    gc.freeze()
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _ignore)
    while True:
        ready, _, _ = select.select([channel.fileno(), reader], [], [])
        if reader in ready:
            with suppress(BlockingIOError):
                os.read(reader, 512)
            _tell_ends(channel)
        if channel.fileno() in ready:
            request, streams, _, _ = socket.recv_fds(channel, WORDS_BYTES_MAX, STREAMS)
            if not request:
                return
            become_child = before_exec(own_identity(), signal.SIGKILL)
            pid = os.fork()
            if pid == 0:
                become_child()
                _grow_up(msgspec.json.decode(request, type=Request), streams, (channel.fileno(), reader, writer))
            for stream in streams:
                os.close(stream)
            channel.send(json.dumps({"pid": pid}).encode())


def _tell_ends(channel: socket.socket) -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            channel.send(json.dumps({"pid": pid, "code": os.waitstatus_to_exitcode(status)}).encode())


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Let SIGCHLD wake the loop."""


def _grow_up(request: Request, streams: Sequence[int], closed: Sequence[int]) -> NoReturn:
    """Be the process that was asked for."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.umask(UMASK)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for descriptor in (*streams, *closed):
        os.close(descriptor)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - for as long as the process lives
    os.environ.clear()
    os.environ.update(request.environ)
    time.tzset()
    os.chdir(request.cwd)
    sys.path[0] = request.cwd
    sys.argv = [request.module, *request.words]
    os._exit(_run("courante.__main__" if request.module == "courante" else request.module))


def _run(module: str) -> int:
    """Run its ``main``; return the exit code of the process."""
    code = 1
    try:
        reload(fault_points)  # it reads the environment when it is loaded
        code = int(import_module(module).main() or 0)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does at its end
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    main()
