"""A cell: the process in which steps of ``isolation="process"`` run, one after the other. This is its inside.

It talks over the standard input and output that it was born with: frames of four bytes of length and msgpack. What the
step itself prints goes to standard error. It ends when its worker closes the pipe, or is gone.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial, reduce
from importlib import import_module
from typing import Any, BinaryIO

import msgspec

from ..sdk.authoring.cancellation import Cancellation, CancelReason
from ..sdk.authoring.context import Context, NoTools
from ..sdk.authoring.deferral import Deferred
from ..sdk.authoring.steps import Step, Steps
from ..sdk.json_values import NotJson, encode_value
from ..sdk.logs.step_lines import clean
from ..sdk.sealing.artifacts import Artifact
from ..sdk.step_error import StepError

LENGTH_BYTES = 4
TEXT_CHARS_MAX = 16_000


class Call(msgspec.Struct, frozen=True, tag="call", array_like=True):
    """Run a function. ``given``: its input as JSON. ``facts``: the fields of its context, up to ``token_key``."""

    module: str
    qualname: str
    step: str
    given: bytes
    facts: tuple[str, str, str, str, int, str, str, int, str]
    last_report: bytes | None


class Cancel(msgspec.Struct, frozen=True, tag="cancel", array_like=True):
    reason: CancelReason


class Report(msgspec.Struct, frozen=True, tag="report", array_like=True):
    details: bytes


class SecretRead(msgspec.Struct, frozen=True, tag="secret", array_like=True):
    """The step has a secret of this name now."""

    name: str


class Logged(msgspec.Struct, frozen=True, tag="logged", array_like=True):
    """A line of the step log; its fields as JSON. ``is_partial``: a piece of an answer in its place."""

    text: str
    fields: bytes = b"{}"
    is_partial: bool = False


class Done(msgspec.Struct, frozen=True, tag="done", array_like=True):
    """``output``: JSON. ``token``: in place of it, where the step ends later."""

    output: bytes = b""
    token: str = ""


class Raised(msgspec.Struct, frozen=True, tag="raised", array_like=True):
    """``kind``: name of its class. ``pickled``: the exception, empty where it cannot be carried. ``text``: trace."""

    kind: str
    message: str
    text: str
    pickled: bytes = b""


HEARD: Any = Call | Cancel
SAID: Any = Report | SecretRead | Logged | Done | Raised
"""What a cell is told, and what it says."""
_encode = msgspec.msgpack.Encoder().encode


def frame(content: object) -> bytes:
    """Return a frame as it goes over the pipe."""
    body = _encode(content)
    return len(body).to_bytes(LENGTH_BYTES) + body


class CellTools(NoTools):
    """What a cell lends to its step: all but the worker's store.

    Of each secret the worker is told before what the step says of it, so that it is masked there too.
    """

    def __init__(self, out: Out) -> None:
        self._out = out

    def read_secret(self, name: str) -> str:
        value = super().read_secret(name)
        self._out.say(SecretRead(name))
        return value

    async def keep_artifact(self, content: bytes, content_type: str) -> Artifact:
        del content, content_type
        raise StepError("CONFIG_INVALID", "a step in a process of its own has no store for artifacts")


class CellAttempt:
    """The attempt in a cell: ``Context.held_by``."""

    def __init__(self, out: Out, last_report: bytes | None) -> None:
        self.cancellation = Cancellation()
        self.last_report = last_report
        self._out = out

    def report(self, details: bytes) -> None:
        self._out.say(Report(details))


class CellLog:
    """The step log in a cell: the worker is told."""

    def __init__(self, out: Out) -> None:
        self._out = out

    def line(self, text: str, /, **fields: object) -> None:
        shown = {name: _shown(value) for name, value in fields.items()}
        self._out.say(Logged(clean(str(text)[:TEXT_CHARS_MAX]), msgspec.json.encode(shown)))

    def partial(self, text: str, /) -> None:
        self._out.say(Logged(clean(text), is_partial=True))


def _shown(value: object) -> object:
    """A JSON value; what is none as Python shows it."""
    try:
        return msgspec.Raw(encode_value(value))
    except NotJson:
        return clean(repr(value)[:TEXT_CHARS_MAX])


class Out:
    """What goes to the worker, from any thread."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def say(self, content: Report | SecretRead | Logged | Done | Raised) -> None:
        with self._lock:
            try:
                self._pipe.write(frame(content))
                self._pipe.flush()
            except OSError:  # nobody listens any more
                os._exit(1)


class Cell:
    """One at a time; a thread hears of cancellation meanwhile."""

    def __init__(self, pipe: BinaryIO, out: Out) -> None:
        self._pipe = pipe
        self._out = out
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._held: CellAttempt | None = None
        self._steps: dict[tuple[str, str], Step] = {}

    def work(self) -> None:
        """Never returns."""
        threading.Thread(target=self._hear, daemon=True).start()
        while True:
            call = self._calls.get()
            self._held = CellAttempt(self._out, call.last_report)
            try:
                answer: Done | Raised = self._run(call, self._held)
            except BaseException as error:  # noqa: BLE001 - user code raises anything, also sys.exit()
                answer = raised(error)
            self._out.say(answer)

    def _run(self, call: Call, held: CellAttempt) -> Done:
        step = self._find(call)
        given = step.hints.read(call.given) if step.takes_input else None
        arguments = step.arguments(given, Context(*call.facts, held, CellTools(self._out), step_log=CellLog(self._out)))
        if step.is_async:
            output = asyncio.run(step.function(*arguments))
        elif step.takes_context:
            output = _beside_a_loop(step.function, arguments)
        else:
            output = step.function(*arguments)
        return Done(token=output.token) if isinstance(output, Deferred) else Done(step.hints.write(output))

    def _find(self, call: Call) -> Step:
        place = (call.module, call.qualname)
        if place not in self._steps:
            steps = Steps()
            function: Any = reduce(getattr, call.qualname.split("."), import_module(call.module))
            steps.add(function, call.step)
            found = steps.get(call.step)
            assert found is not None
            self._steps[place] = found
            if found.takes_context or "structlog" in sys.modules:
                _mask_logs()
        return self._steps[place]

    def _hear(self) -> None:
        decode: Callable[[bytes], Call | Cancel] = msgspec.msgpack.Decoder(HEARD).decode
        while True:
            head = self._pipe.read(LENGTH_BYTES)
            body = self._pipe.read(int.from_bytes(head)) if len(head) == LENGTH_BYTES else b""
            if not body:
                os._exit(0)
            heard = decode(body)
            if isinstance(heard, Call):
                self._calls.put(heard)
            elif self._held is not None:
                self._held.cancellation.set(heard.reason)


def _beside_a_loop(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Call a plain function as a worker does, in a thread of an event loop: what its context awaits runs there."""
    import anyio

    return anyio.run(partial(anyio.to_thread.run_sync, function, *arguments))


def _mask_logs() -> None:
    """Unless the module of the step has its own mind of logs. Late, for a step without logs does not pay for them."""
    import structlog

    from ..sdk.logs.log_lines import JSON, LINE

    if not structlog.is_configured():
        structlog.configure(processors=[*LINE, JSON], logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def raised(error: BaseException) -> Raised:
    """Return what can be said of an exception in another process."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - its text is user code
        message = ""
    text = "".join(traceback.format_exception(error))[-TEXT_CHARS_MAX:]
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)  # noqa: S301 - our own bytes; many exceptions can be written and not read
    except Exception:  # noqa: BLE001 - writing and reading it are user code
        pickled = b""
    return Raised(type(error).__name__, message[:TEXT_CHARS_MAX], text, pickled)


def main() -> None:
    """Take over the pipes, leave signals of the terminal and of the service manager to the worker, and work."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    pipe, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull) as nothing:  # noqa: PTH123 - its descriptor is wanted
        os.dup2(nothing.fileno(), 0)
    sys.stdout.flush()
    os.dup2(2, 1)
    Cell(pipe, Out(out)).work()
