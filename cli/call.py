"""A call: one use of the command line, with its output and the settings in force; and the options that all share.

``--json`` and the settings may stand before or after the name of a command; the later one wins.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from .output import Output

if TYPE_CHECKING:
    from ..sdk.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class Call:
    """``flags``: settings given as options, by field. ``default_level``: of logs where nobody set one."""

    def __init__(self) -> None:
        self.is_json = False
        self.flags: dict[str, object] = {}
        self.options: dict[str, str] = {}
        self._output: Output | None = None
        self._settings: tuple[Settings, dict[str, str]] | None = None

    @property
    def out(self) -> Output:
        if self._output is None:
            self._output = Output(is_json=self.is_json)
        return self._output

    @property
    def settings(self) -> Settings:
        return self.settings_and_sources[0]

    @property
    def settings_and_sources(self) -> tuple[Settings, dict[str, str]]:
        """Raises SettingsError."""
        if self._settings is None:
            from ..sdk.secrets.redaction import REDACTOR
            from ..sdk.settings import load_settings

            self._settings = load_settings(self.flags, options=self.options)
            for url in (self._settings[0].redis_url, self._settings[0].database_url):
                REDACTOR.register_url(url or "")
        return self._settings

    def log(self, *, default_level: str | None = None) -> None:
        """Send logs to stderr. default_level: used where no flag, variable or file names one."""
        from ..sdk.settings import DEFAULT
        from .log_output import configure_logs

        settings, sources = self.settings_and_sources
        is_default = sources["log_level"] == DEFAULT
        configure_logs(default_level if default_level and is_default else str(settings.log_level))


def with_call(function: Callable[Concatenate[Call, P], R]) -> Callable[P, R]:
    """Hand the call to a command as its first argument."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        call = click.get_current_context().find_object(Call)
        assert call is not None
        return function(call, *args, **kwargs)

    return wrapped


def json_option(function: F) -> F:
    """``--json``."""
    help = "Write one JSON object on the last line of stdout; logs and progress go to stderr."
    return click.option("--json", is_flag=True, expose_value=False, callback=_set_json, is_eager=True, help=help)(
        function
    )


def service_options(function: F) -> F:
    """The settings of every command that talks to Redis or Postgres, and ``--json``."""
    options = [
        setting_option("--env", "env", metavar="NAME", help="Environment; runs of different ones never meet."),
        setting_option("--redis-url", "redis_url", metavar="URL", help="Redis; left out: the embedded one."),
        setting_option("--database-url", "database_url", metavar="URL", help="Postgres; left out: the embedded one."),
        setting_option("--api-url", "api_url", metavar="URL", help="An HTTP API to ask, in place of both."),
        setting_option("--home", "home", metavar="DIR", help="Where the embedded servers live."),
        setting_option("--log-level", "log_level", metavar="LEVEL", help="debug, info, warning or error."),
    ]
    for option in reversed(options):
        function = option(function)
    return json_option(function)


def setting_option(name: str, field: str, *, metavar: str, help: str) -> Callable[[F], F]:
    """An option that overrides one setting; its value is checked where all settings are."""

    def remember(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            call = _call(context)
            call.flags[field], call.options[field] = value, name

    return click.option(name, expose_value=False, callback=remember, metavar=metavar, help=help)


def _set_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        _call(context).is_json = True


def _call(context: click.Context) -> Call:
    return context.ensure_object(Call)
