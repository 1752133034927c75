"""The crew: the worker and the supervisor that ``courante run`` brings along where nobody else does their work.

Who else is there is looked up again every second, so a worker that dies while we wait is replaced by our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..compiler.ir import Ir
from ..compiler.tool_names import HANDLER_PREFIX
from ..runner.meter import Meter
from ..runner.models.terms import ModelTerms
from ..runner.terms import Terms
from ..runner.tools.shelf import TwoTools, check_names
from ..runner.worker import Worker
from ..sdk.authoring.declared_tools import DeclaredTools, ToolsFileError, load_tools
from ..sdk.authoring.steps import Steps
from ..sdk.authoring.tools import lacking, shown_handler
from ..sdk.connections import close_redis, connect_redis
from ..sdk.floor.presence import (
    can_serve,
    find_workers,
    forget_supervisor,
    handlers_of,
    has_supervisor,
    live_workers,
    queues_of,
)
from ..sdk.health.health import limits_of
from ..sdk.settings import Settings
from ..sdk.spending.prices import PricesError, PriceTable, load_prices
from ..supervisor.retention.policy import policy_of
from ..supervisor.supervisor import Supervisor
from .endpoint import wants_endpoint
from .exits import CliError, ExitCode
from .services import Services

LOOK_S = 1.0
STOP_S = 10.0
log = structlog.get_logger()


class Crew:
    """Async context manager. ``irs``: of the workflow, and of those that it runs as steps.

    ``wants_worker``: bring a worker along even if others live (``--app`` was given).
    """

    def __init__(self, services: Services, irs: Sequence[Ir], steps: Steps, *, wants_worker: bool) -> None:
        self._services = services
        self._settings = services.settings
        self._irs = irs
        self._steps = steps
        self._wants_worker = wants_worker
        self._redis: Redis = connect_redis(services.redis_url)
        self._group = anyio.create_task_group()
        self._worker: Worker | None = None
        self._supervisor: Supervisor | None = None
        self._worker_gone = anyio.Event()
        self._supervisor_gone = anyio.Event()
        self._watch = anyio.CancelScope()

    @property
    def has_own_worker(self) -> bool:
        return self._worker is not None

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        try:
            await self._look()
        except BaseException:
            self._group.cancel_scope.cancel()
            await self._group.__aexit__(None, None, None)
            raise
        self._group.start_soon(self._keep_looking)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or not issubclass(kind, anyio.get_cancelled_exc_class()):
            await self.dismiss()
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(kind, error, trace)
        with anyio.CancelScope(shield=True), anyio.move_on_after(2):
            if self._supervisor is not None:
                settings = self._settings
                await forget_supervisor(self._redis, settings.env, settings.partitions, self._supervisor.name)
        await close_redis(self._redis)

    def stop(self) -> None:
        """Take no more work; what is at hand is finished."""
        if self._worker is not None:
            self._worker.stop()

    def kill(self) -> None:
        """Drop what is at hand; others take it over when its lease has passed."""
        if self._worker is not None:
            self._worker.kill()

    async def dismiss(self) -> None:
        """End in order, the worker first: the supervisor records what it did last. Idempotent."""
        self._watch.cancel()
        if self._worker is not None:
            self._worker.stop()
            with anyio.move_on_after(self._settings.stop_grace_ms / 1000 + STOP_S):
                await self._worker_gone.wait()
            self._worker.kill()
        if self._supervisor is not None:
            self._supervisor.stop()
            with anyio.move_on_after(STOP_S):
                await self._supervisor_gone.wait()

    async def _keep_looking(self) -> None:
        with self._watch:
            while self._worker is None or self._supervisor is None:
                await anyio.sleep(LOOK_S)
                try:
                    await self._look()
                except (RedisError, OSError) as error:
                    log.warning("redis_unreachable", error=str(error))

    async def _look(self) -> None:
        settings = self._settings
        if self._supervisor is None and not await has_supervisor(self._redis, settings.env, settings.partitions):
            self._supervisor = make_supervisor(self._services)
            self._group.start_soon(self._supervise, self._supervisor)
        if self._worker is None:
            others = await live_workers(self._redis, settings.env, settings.partitions)
            if self._wants_worker or not can_serve(others, *self._irs):
                self._worker = make_worker(self._services, self._steps, queues_of(*self._irs))
                self._group.start_soon(self._work, self._worker)

    async def _work(self, worker: Worker) -> None:
        try:
            await worker.run()
        finally:
            self._worker_gone.set()

    async def _supervise(self, supervisor: Supervisor) -> None:
        try:
            await supervisor.run()
        finally:
            self._supervisor_gone.set()


def make_supervisor(services: Services) -> Supervisor:
    """A supervisor with the settings in force."""
    settings = services.settings
    return Supervisor(
        redis_url=services.redis_url,
        database_url=services.database_url,
        env=settings.env,
        partitions=settings.partitions,
        lease_ms=settings.lease_ms,
        audit_s=settings.audit_s,
        stuck_ms=settings.stuck_ms,
        outbox_hard_max=settings.outbox_entries_hard,
        run_events_max=settings.run_events_max,
        subflow_depth_max=settings.subflow_depth_max,
        payload_hot_s=settings.payload_hot_s,
        payload_keep_s=settings.payload_keep_s,
        step_log_keep_s=settings.step_log_keep_s,
        counts=wants_endpoint(settings),
        limits=limits_of(settings),
        otlp_url=read_otlp_url(settings),
        http_allow=settings.http_allow or "",
        http_proxy=settings.http_proxy or "",
        retention=policy_of(settings),
    )


def make_worker(services: Services, steps: Steps, queues: list[str]) -> Worker:
    """A worker with the settings in force."""
    from .. import __version__

    settings = services.settings
    return Worker(
        redis_url=services.redis_url,
        database_url=services.database_url,
        env=settings.env,
        partitions=range(settings.partitions),
        queues=queues,
        steps=steps,
        concurrency=settings.concurrency,
        build=__version__,
        outbox_soft_max=settings.outbox_entries_soft,
        outbox_hard_max=settings.outbox_entries_hard,
        retry_after_ms_max=settings.retry_after_ms_max,
        terms=Terms(
            lease_ms=settings.lease_ms,
            deliveries_max=settings.deliveries_max,
            cancel_grace_ms=settings.cancel_grace_ms,
            stop_grace_ms=settings.stop_grace_ms,
        ),
        http_allow=settings.http_allow or "",
        http_proxy=settings.http_proxy or "",
        secrets_dir=Path(settings.secrets_dir) if settings.secrets_dir else None,
        prices=read_prices(settings),
        models=ModelTerms(
            openai_url=settings.openai_url,
            anthropic_url=settings.anthropic_url,
            request_timeout_ms=settings.request_timeout_ms,
            provider=settings.model_provider or "",
        ),
        declared=read_tools(settings, steps),
        meter=Meter() if wants_endpoint(settings) else None,
        traces=settings.otlp_url is not None,
    )


def read_otlp_url(settings: Settings) -> str:
    """Return where traces go; nothing: nowhere. Raises CliError where the extra is missing."""
    if settings.otlp_url is None:
        return ""
    try:
        import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError as cause:
        message = f"otlp_url is set, and OpenTelemetry cannot be loaded: {cause}"
        raise CliError(ExitCode.SERVICE, "otel_missing", message, "pip install 'courante[otel]'") from cause
    return settings.otlp_url


def read_prices(settings: Settings) -> PriceTable:
    """Return what calls of models cost. Raises CliError for a file that cannot be used."""
    try:
        return load_prices(Path(settings.prices) if settings.prices else None)
    except PricesError as cause:
        raise CliError(
            ExitCode.SERVICE, "prices_unusable", f"prices cannot be used: {cause}", "see docs/reference/prices.md"
        ) from cause


def read_tools(settings: Settings, steps: Steps) -> DeclaredTools:
    """Return the tools that the operator declares. steps: where those in Python are.

    Raises CliError for a file that cannot be used, also beside those.
    """
    try:
        declared = load_tools(Path(settings.tools) if settings.tools else None)
        check_names(steps, declared)
    except (ToolsFileError, TwoTools) as cause:
        raise CliError(
            ExitCode.SERVICE, "tools_unusable", f"tools cannot be used: {cause}", "see docs/reference/tools.md"
        ) from cause
    return declared


async def check_handlers(services: Services, irs: Sequence[Ir], steps: Steps) -> None:
    """Raise CliError, naming the handlers that neither ``--app`` nor a live worker provides."""
    wanted = handlers_of(*irs)
    settings = services.settings
    missing = lacking(wanted, [*steps.handlers(), *read_tools(settings, steps).handlers()])
    if not missing:
        return
    for worker in await find_workers(services.redis_url, settings.env, settings.partitions):
        missing = lacking(missing, worker.handlers)
    if missing:
        said = "; ".join(f"{shown_handler(name)} (step {wanted[name]!r})" for name in sorted(missing))
        message = f"neither --app nor a live worker provides {said}"
        hint = "name the module that registers it with --app MODULE, or start 'courante worker --app MODULE'"
        if any(name.startswith(HANDLER_PREFIX) for name in missing):
            hint += "; tools may be declared in a file too, see docs/reference/tools.md"
        raise CliError(ExitCode.USAGE, "handler_missing", message, hint)
