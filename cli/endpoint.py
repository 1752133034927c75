"""The endpoint of a daemon, where the settings ask for one."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from ..sdk.metrics.exposition import Sources, is_installed
from ..sdk.settings import Settings
from .exits import CliError, ExitCode


def wants_endpoint(settings: Settings) -> bool:
    """Whether there is to be one. Raises CliError where the extra is missing."""
    if settings.metrics_port is None:
        return False
    if not is_installed():
        message = "metrics_port is set, and the package prometheus-client is not installed"
        raise CliError(ExitCode.SERVICE, "metrics_missing", message, "pip install 'courante[metrics]'")
    return True


@contextmanager
def served(
    settings: Settings,
    role: str,
    name: str,
    sources: Sources,
    *,
    unready: Callable[[], list[str]],
    drain: Callable[[], None],
) -> Generator[None]:
    """Serve /metrics, /live, /ready and /drain within. On the loop. Raises CliError where the address is taken."""
    if not wants_endpoint(settings):
        yield
        return
    from ..sdk.metrics.endpoint import Endpoint, Probe

    host, port = settings.metrics_host, settings.metrics_port or 0
    probe = Probe(role=role, name=name, env=settings.env, ready=unready, drain=drain)
    endpoint = Endpoint(sources, probe, host=host, port=port)
    try:
        endpoint.open()
    except OSError as cause:
        message = f"metrics cannot be served at {host}:{port}: {cause.strerror or cause}"
        hint = "another --metrics-port may be free; 0 takes any"
        raise CliError(ExitCode.SERVICE, "metrics_port_unusable", message, hint) from cause
    try:
        yield
    finally:
        endpoint.close()
