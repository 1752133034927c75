"""Cells: processes for steps of ``isolation="process"``, kept for the next step and killed when a step must end now.

The way out of threads that cannot be stopped: whatever ends an attempt (its timeout, silence, a lost lease, a run that
drains, a worker that stops) cancels the call, and that kills the process.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import msgspec
import structlog
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from ..sdk.authoring.context import Attempt, Context
from ..sdk.authoring.deferral import Deferred
from ..sdk.authoring.step_log import StepLog
from ..sdk.http.reach import ALLOW_VARIABLE, PROXY_VARIABLE
from ..sdk.outcomes.step_context import StepError
from ..sdk.secrets.secrets import DIRECTORY_VARIABLE, Secrets
from .cell import LENGTH_BYTES, SAID, Call, Cancel, Done, Logged, Raised, Report, SecretRead, frame

if TYPE_CHECKING:
    from ..sdk.authoring.steps import Step

LAST_WORDS_S = 0.5
"""How long what a process has said before it died may take to be read."""
CODE = "from courante.runner.cell import main; main()"
log = structlog.get_logger()


class RemoteTraceback(Exception):
    """Where in its own process an exception comes from."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


class Cells:
    """At most ``size`` at once; who comes then waits, within the time of its attempt.

    ``secrets``, ``http_allow``, ``http_proxy``: the worker's, which the processes have too.
    """

    def __init__(self, size: int, *, secrets: Secrets, http_allow: str, http_proxy: str = "") -> None:
        self._limiter = anyio.CapacityLimiter(size)
        self._secrets = secrets
        self._terms = {
            ALLOW_VARIABLE: http_allow,
            PROXY_VARIABLE: http_proxy,
            DIRECTORY_VARIABLE: str(secrets.directory or ""),
        }
        self._idle: list[_Cell] = []

    @property
    def idle(self) -> int:
        return len(self._idle)

    async def run(self, step: Step, given: bytes, context: Context) -> bytes | Deferred:
        """Run a step on its JSON input, and return its JSON output. Raises what it raises, and StepError.

        When this is cancelled the process is killed.
        """
        module, qualname = step.function.__module__, step.function.__qualname__
        if module == "__main__" or "<" in qualname:
            text = "runs in a process of its own: it must stand at the top of a module, not in a script or a function"
            raise StepError("CONFIG_INVALID", f"step {step.name!r} {text}")
        facts = (
            context.run_id,
            context.workflow,
            context.node,
            context.scope,
            context.attempt,
            context.idempotency_key,
            context.worker,
            context.max_attempts,
            context.token_key,
        )
        call = Call(module, qualname, step.name, given, facts, context.held_by.last_report)
        async with self._limiter:
            cell = await self._take()
            try:
                answer = await cell.call(call, context.held_by, context.step_log)
            except BaseException:
                await cell.kill()
                raise
            self._idle.append(cell)
        if isinstance(answer, Raised):
            raise _exception(answer)
        return Deferred(answer.token) if answer.token else answer.output

    async def _take(self) -> _Cell:
        while self._idle:
            cell = self._idle.pop()
            if cell.is_alive:
                return cell
            await cell.kill()
        return await _Cell.start(self._secrets, self._terms)

    async def close(self) -> None:
        """End the processes that nobody uses."""
        while self._idle:
            await self._idle.pop().kill()


class _Cell:
    """One process, from the outside."""

    def __init__(self, process: Process, secrets: Secrets) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._secrets = secrets
        self._in = process.stdin
        self._out = BufferedByteReceiveStream(process.stdout)
        decoder = msgspec.msgpack.Decoder(SAID)
        self._decode: Callable[[bytes], Done | Raised | Report | SecretRead | Logged] = decoder.decode

    @classmethod
    async def start(cls, secrets: Secrets, terms: Mapping[str, str]) -> _Cell:
        """terms: variables of the process, beside those of the worker."""
        path = os.pathsep.join(each or os.getcwd() for each in sys.path)  # noqa: PTH109 - as sys.path means it
        environment = {**os.environ, **terms, "PYTHONPATH": path}
        process = await anyio.open_process(
            [sys.executable, "-c", CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            env=environment,
            start_new_session=True,  # what it starts goes with it
        )
        log.debug("cell_started", pid=process.pid)
        return cls(process, secrets)

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def call(self, call: Call, held: Attempt, step_log: StepLog) -> Done | Raised:
        """Raises StepError (PROCESS_DIED) where the process ends before it has answered."""
        answer: Done | Raised | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._pass_on, held)
            group.start_soon(self._watch, group.cancel_scope)
            try:
                await self._in.send(frame(call))
                while answer is None:
                    length = int.from_bytes(await self._out.receive_exactly(LENGTH_BYTES))
                    heard = self._decode(await self._out.receive_exactly(length))
                    if isinstance(heard, Report):
                        held.report(heard.details)
                    elif isinstance(heard, Logged):
                        _tell(step_log, heard)
                    elif isinstance(heard, SecretRead):
                        with suppress(StepError):  # it is masked from now on; unless it was taken away meanwhile
                            self._secrets.read(heard.name)
                    else:
                        answer = heard
            except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass
            group.cancel_scope.cancel()
        if answer is None:
            with anyio.move_on_after(1):
                await self._process.wait()
            self._kill_all()
            raise StepError("PROCESS_DIED", f"the process of the step has ended: {_ending(self._process.returncode)}")
        return answer

    async def _pass_on(self, held: Attempt) -> None:
        """Tell the step when it should stop."""
        reason = await held.cancellation
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._in.send(frame(Cancel(reason)))

    async def _watch(self, scope: anyio.CancelScope) -> None:
        """Wait for an answer no longer than the process lives: what it has started may keep the pipe open."""
        await self._process.wait()
        await anyio.sleep(LAST_WORDS_S)
        scope.cancel()

    def _kill_all(self) -> None:
        """End the process now, and what it has started. It lives, or has just died: its number is nobody else's."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def kill(self) -> None:
        """End the process now, whatever it does, and what it has started, and wait until it is gone."""
        if self.is_alive:
            self._kill_all()
        with anyio.CancelScope(shield=True):
            await self._process.aclose()


def _tell(step_log: StepLog, heard: Logged) -> None:
    if heard.is_partial:
        step_log.partial(heard.text)
    else:
        fields: dict[str, object] = msgspec.json.decode(heard.fields)
        step_log.line(heard.text, **fields)


def _ending(code: int | None) -> str:
    if code is None:
        return "it does not answer"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _exception(answer: Raised) -> BaseException:
    """Return what the step has raised, with the traceback of its own process."""
    error: object = None
    with suppress(Exception):  # one that cannot be carried over
        error = pickle.loads(answer.pickled)  # noqa: S301 - written by a process of our own a moment ago
    if not isinstance(error, BaseException) or isinstance(error, KeyboardInterrupt):  # that would end the worker
        error = RuntimeError(f"{answer.kind}: {answer.message}")
    error.__cause__ = RemoteTraceback(answer.text)
    return error
