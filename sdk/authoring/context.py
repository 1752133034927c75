"""Context: what a step may know about its attempt, and do with it.

What it does goes to ``held_by``, the worker's side of the attempt. A context made without one works too, in tests of
steps: only they cancel it, and its heartbeats go nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..json_values import encode_value
from .cancellation import Cancellation
from .deferral import Deferred, DeferToken
from .step_log import NO_LOG, StepLog

if TYPE_CHECKING:
    import httpx
    from structlog.typing import FilteringBoundLogger

    from ..sealing.artifacts import Artifact

HEARTBEAT_BYTES_MAX = 8 * 1024
_decode = msgspec.json.Decoder().decode


class Attempt(Protocol):
    """What a worker plugs in: one attempt in its hands. All of it is called from any thread, and must not block."""

    @property
    def cancellation(self) -> Cancellation:
        """Set by the worker when the step should stop."""
        ...

    @property
    def last_report(self) -> bytes | None:
        """Details of the last heartbeat of the attempt before, as JSON; None where there was none."""
        ...

    def report(self, details: bytes) -> None:
        """Take a heartbeat with its details, JSON of at most ``HEARTBEAT_BYTES_MAX``. Only the newest counts."""
        ...


class Unheld:
    """The attempt of no worker."""

    __slots__ = ("cancellation", "last_report")

    def __init__(self) -> None:
        self.cancellation = Cancellation()
        self.last_report: bytes | None = None

    def report(self, details: bytes) -> None:
        del details


class Tools(Protocol):
    """What a worker lends to its steps."""

    @property
    def resources(self) -> Mapping[str, Any]:
        """What the lifespans of its steps have yielded."""
        ...

    def open_http(self) -> httpx.AsyncClient:
        """Return a client of one attempt over the connections of the worker."""
        ...

    async def keep_artifact(self, content: bytes, content_type: str) -> Artifact:
        """Store what is no JSON, for an output that refers to it."""
        ...

    def read_secret(self, name: str) -> str:
        """Return a secret, which is masked in errors and logs from then on."""
        ...


class NoTools:
    """The tools of no worker: no resources; HTTP and secrets as the environment of this process has them."""

    resources: Mapping[str, Any] = MappingProxyType({})

    def open_http(self) -> httpx.AsyncClient:
        from ..http.client import open_client

        return open_client()

    async def keep_artifact(self, content: bytes, content_type: str) -> Artifact:
        """Give the reference; nothing is stored."""
        from ..events import digest
        from ..sealing.artifacts import Artifact, check_content_type

        return Artifact(digest(content).hex(), check_content_type(content_type), len(content))

    def read_secret(self, name: str) -> str:
        from ..secrets.secrets import DIRECTORY_VARIABLE, Secrets

        directory = os.environ.get(DIRECTORY_VARIABLE)
        return Secrets(Path(directory) if directory else None).read(name)


NO_TOOLS = NoTools()


class Context(msgspec.Struct, frozen=True, eq=False):
    """What a step may know about where it runs.

    ``attempt`` counts from 1 to ``max_attempts``. ``idempotency_key`` is the same for every attempt of this step in
    this run and scope: hand it to whatever must not happen twice. What stands behind ``max_attempts`` is the worker's.
    """

    run_id: str
    workflow: str
    node: str
    scope: str
    attempt: int
    idempotency_key: str
    worker: str
    max_attempts: int = 1
    token_key: str = "0"  # noqa: S105 - a token of the engine is no password
    held_by: Attempt = msgspec.field(default_factory=Unheld)
    tools: Tools = NO_TOOLS
    made: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    step_log: StepLog = NO_LOG

    def heartbeat(self, details: object = None) -> None:
        """Say that this attempt makes progress; the attempt after it finds ``details`` in ``last_heartbeat``.

        details: a JSON value of at most 8 KiB. Never waits for anything: call it as often as there is progress.
        Raises ValueError for what is no JSON value, or larger.
        """
        content = encode_value(details)
        if len(content) > HEARTBEAT_BYTES_MAX:
            message = f"the details of a heartbeat have {len(content):,} bytes as JSON, at most {HEARTBEAT_BYTES_MAX:,}"
            raise ValueError(f"{message}: store what is large, and report where it is")
        self.held_by.report(content)

    @property
    def last_heartbeat(self) -> Any:
        """What the attempt before this one reported last; None if nothing."""
        content = self.held_by.last_report
        return None if content is None else _decode(content)

    @property
    def is_cancelled(self) -> bool:
        """Whether the step should stop: what it returns from now on may not count."""
        return self.held_by.cancellation.reason is not None

    @property
    def cancelled(self) -> Cancellation:
        """To be awaited, or waited for in a thread: ``await context.cancelled``, ``context.cancelled.wait(5)``."""
        return self.held_by.cancellation

    def defer(self) -> Deferred:
        """Return what the step returns to end later: hand out its ``token`` first, then return it."""
        return Deferred(DeferToken(self.run_id, self.token_key, self.attempt).text)

    @property
    def resources(self) -> Mapping[str, Any]:
        """What the lifespans of this worker's steps share, by name."""
        return self.tools.resources

    def log(self, text: str, /, **fields: object) -> None:
        """Say a line in the log of this step, which ``courante logs`` shows at once and later.

        ``level``: debug, info (where nothing is said), warning, error or critical; all other fields belong to the line.
        Never waits and never raises. At most 8 KiB a line and 1,000 lines an attempt. Secrets are masked.
        """
        self.step_log.line(text, **fields)

    @property
    def logger(self) -> FilteringBoundLogger:
        """A logger of structlog whose lines say run, workflow, node, scope and attempt.

        They go to the step log too, but for those of level debug.
        """
        if "logger" not in self.made:
            import structlog

            where = {"run_id": self.run_id, "workflow": self.workflow, "node": self.node, "attempt": self.attempt}
            bound = structlog.get_logger().bind(**where, **({"scope": self.scope} if self.scope else {}))
            if self.step_log is not NO_LOG:
                from .told_logger import tell

                bound = tell(bound, self.step_log)
            self.made["logger"] = bound
        logger: FilteringBoundLogger = self.made["logger"]
        return logger

    @property
    def http(self) -> httpx.AsyncClient:
        """A client of this attempt, over connections that the worker keeps: cookies are not shared with others.

        It refuses private addresses as nodes of type ``http`` do (setting ``http_allow``), also behind names and after
        redirects. Nobody has to close it.
        """
        if "http" not in self.made:
            self.made["http"] = self.tools.open_http()
        client: httpx.AsyncClient = self.made["http"]
        return client

    async def artifact(self, content: bytes, content_type: str = "application/octet-stream") -> dict[str, Any]:
        """Store what is no JSON, and return the reference that the step puts into its output.

        At most 16 MiB. Raises ValueError for what is no content type, StepError for too much.
        """
        return (await self.tools.keep_artifact(content, content_type)).reference

    def secret(self, name: str) -> str:
        """Return a secret by its name, from the worker's environment or files. Raises StepError where there is none.

        It is masked in errors and logs from then on; what the step returns is stored as it is.
        """
        return self.tools.read_secret(name)
