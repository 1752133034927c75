"""Settings: one frozen struct, decoded once from flags, the environment, ``courante.toml`` and defaults.

An earlier source wins, and only the value in force is checked. A wrong value is a SettingsError that names the field,
where it came from and what is allowed.
Passwords never leave through ``show``, ``repr`` or an error. Reads files and the environment in ``load_settings`` only.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from ..compiler.diagnostics import did_you_mean
from ..compiler.durations import parse_duration
from .fault_points import VARIABLE as FAULT_VARIABLE
from .http.reach import read_networks, read_proxy, read_reach
from .retry_after import RETRY_AFTER_MS_MAX
from .secrets.secrets import PREFIX as SECRET_PREFIX
from .urls import mask_password, url_fault

FILE_NAME = "courante.toml"
PREFIX = "COURANTE_"
CONFIG_VARIABLE = "COURANTE_CONFIG"
SCRIPT_VARIABLES = frozenset({"COURANTE_PYTHON", "COURANTE_VENV"})
"""What ``scripts/`` of a checkout read."""
DEFAULT = "default"
LEASE_MS = 30_000
"""How long a worker may be silent before others take over what it holds."""
DELIVERIES_MAX = 5
"""A step that ends so many workers one after the other is given to no other."""
CANCEL_GRACE_MS = 10_000
STOP_GRACE_MS = 20_000
"""Less than what Kubernetes and others wait for between SIGTERM and SIGKILL, half a minute."""
AUDIT_S = 10.0
"""From one walk over all runs to the next: with it, the time until something is found that was lost."""
RUN_EVENTS_MAX = 1_000_000
"""A run with more events fails: it would take minutes to read, and one that never ends is noticed at last."""
SUBFLOW_DEPTH_MAX = 32
"""How many runs may stand above a run: a workflow that runs itself comes to an end."""
PAYLOAD_HOT_S = 3_600.0
"""A payload that nobody has read or written for so long leaves Redis; Postgres has it then."""
PAYLOAD_KEEP_S = 7 * 86_400.0
"""A payload that nothing has referred to for so long leaves Postgres. A step has as long to name what it stored."""
STEP_LOG_KEEP_S = 30 * 86_400.0
"""How long what steps have said can be read."""
DAY_MS = 86_400_000
STUCK_MS = 300_000
"""After so long without an event a run that waits for nothing is stuck, where its document says nothing else."""
HEALTH_LAG_MS = 60_000
"""From this age of an event that is not in the log on, health is CRITICAL; from a quarter of it on, WARNING."""
HEALTH_QUEUE_AGE_MS = 60_000
"""From this age of a token that no worker has taken on, health is WARNING."""
HEALTH_FAILING_WARNING = 10
"""From this share of failed runs on, in per cent, health is WARNING."""
HEALTH_FAILING_CRITICAL = 50
"""From this one on it is CRITICAL."""
REQUEST_TIMEOUT_MS = 60_000
"""How long a call of a model may take whose step has no timeout."""
API_HOST = "127.0.0.1"
API_PORT = 8420
"""Where the HTTP API listens."""
API_BODY_BYTES_MAX = 32 * 1024 * 1024
API_BODY_VALUES_MAX = 1_000_000
API_CONNECTIONS_MAX = 4_096
API_ADDRESS_CONNECTIONS_MAX = 1_024
"""From one address, at once."""
API_REQUESTS_PER_S = 1_000
"""Of one key; twice as many at once."""
API_SESSION_S = 43_200.0
"""How long a browser stays logged in, half a day."""
OPENAI_URL = "https://api.openai.com/v1"
METRICS_HOST = "127.0.0.1"
ANTHROPIC_URL = "https://api.anthropic.com"

_ENV_ALLOWED = "1 to 64 of a-z, 0-9, - and _, the first a letter or digit"
_HOSTS = r"^[A-Za-z0-9._:\[\]-]+(\s*,\s*[A-Za-z0-9._:\[\]-]+)*\Z"
_HOST_ALLOWED = "an address of this machine, 0.0.0.0 for all of them"
_AGE = "a duration of at least a day: 400d, 36h"
_AGES = "workflows with durations of at least a day, joined by commas: orders=30d, mails=7d"
_TEXTS = {
    "api_key": "a text",
    **dict.fromkeys(("api_key_file", "key_ring", "prices", "tools"), "the path of a file"),
    "api_hosts": "names and addresses without ports, joined by commas: courante.example, 10.0.0.5",
    "api_proxies": "addresses and networks, joined by commas: 10.0.0.5, 10.1.0.0/16",
    "api_host": "an address of this machine, 127.0.0.1 or ::1 where only this machine is to ask",
    "http_allow": "networks, addresses and hosts, joined by commas, with a port or without: 10.0.0.0/8, shop:8080",
    "http_proxy": "http://host:port, without a user",
    "secrets_dir": "the path of a directory",
    "model_provider": "one of openai, anthropic, echo",
    "metrics_port": "a whole number from 0 to 65535",
    "retain_archive": "the path of a directory",
    "retain_log": _AGE,
    "retain_payloads": _AGE,
    "retain_payloads_of": _AGES,
    "retain_artifacts": _AGE,
    "retain_runs": _AGE,
    "retain_cache": _AGE,
}
_KIB = 1024
_MIB = 1024 * _KIB
_HTTP_SCHEMES = ("https", "http")
_SCHEMES = {
    "redis_url": ("redis", "rediss", "unix"),
    "database_url": ("postgres", "postgresql"),
    "api_url": _HTTP_SCHEMES,
    "openai_url": _HTTP_SCHEMES,
    "anthropic_url": _HTTP_SCHEMES,
    "otlp_url": _HTTP_SCHEMES,
}
SECRETS = frozenset({"api_key"})
"""Settings that are never shown."""


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ModelProvider(StrEnum):
    """Of ``PROVIDERS`` in compiler/llm_config.py."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    ECHO = "echo"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force. Without a URL the embedded server is used. Limits of outbox: stream entries, one per batch."""

    redis_url: str | None = None
    database_url: str | None = None
    api_url: str | None = None
    api_key: str | None = None
    api_key_file: str | None = None
    api_key_in_clear: bool = False
    home: Path
    env: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z", description=_ENV_ALLOWED)] = "default"
    partitions: Annotated[int, Meta(ge=1, le=1024)] = 1
    lease_ms: Annotated[int, Meta(ge=1000, le=3_600_000)] = LEASE_MS
    deliveries_max: Annotated[int, Meta(ge=1, le=1_000)] = DELIVERIES_MAX
    cancel_grace_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = CANCEL_GRACE_MS
    stop_grace_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = STOP_GRACE_MS
    concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 128
    log_level: LogLevel = LogLevel.INFO
    prefer_system_servers: bool = False
    inline_bytes_max: Annotated[int, Meta(ge=0, le=_MIB)] = 8 * _KIB
    key_ring: str | None = None
    payload_bytes_max: Annotated[int, Meta(ge=_KIB, le=512 * _MIB)] = 16 * _MIB
    payload_hot_s: Annotated[float, Meta(ge=1, le=365 * 86_400)] = PAYLOAD_HOT_S
    payload_keep_s: Annotated[float, Meta(ge=86_400, le=3_650 * 86_400)] = PAYLOAD_KEEP_S
    retain_log: str | None = None
    retain_payloads: str | None = None
    retain_payloads_of: str | None = None
    retain_artifacts: str | None = None
    retain_runs: str | None = None
    retain_cache: str | None = None
    retain_archive: str | None = None
    step_log_keep_s: Annotated[float, Meta(ge=60, le=3_650 * 86_400)] = STEP_LOG_KEEP_S
    outbox_entries_soft: Annotated[int, Meta(ge=1)] = 50_000
    outbox_entries_hard: Annotated[int, Meta(ge=1)] = 100_000
    audit_s: Annotated[float, Meta(ge=0.1, le=86_400)] = AUDIT_S
    stuck_ms: Annotated[int, Meta(ge=1_000, le=30 * 86_400_000)] = STUCK_MS
    run_events_max: Annotated[int, Meta(ge=1_000, le=100_000_000)] = RUN_EVENTS_MAX
    subflow_depth_max: Annotated[int, Meta(ge=1, le=1_000)] = SUBFLOW_DEPTH_MAX
    health_lag_ms: Annotated[int, Meta(ge=1_000, le=86_400_000)] = HEALTH_LAG_MS
    health_queue_age_ms: Annotated[int, Meta(ge=1_000, le=7 * 86_400_000)] = HEALTH_QUEUE_AGE_MS
    health_failing_warning: Annotated[int, Meta(ge=1, le=100)] = HEALTH_FAILING_WARNING
    health_failing_critical: Annotated[int, Meta(ge=1, le=100)] = HEALTH_FAILING_CRITICAL
    retry_after_ms_max: Annotated[int, Meta(ge=0, le=7 * 86_400_000)] = RETRY_AFTER_MS_MAX
    http_allow: str | None = None
    http_proxy: str | None = None
    secrets_dir: str | None = None
    prices: str | None = None
    request_timeout_ms: Annotated[int, Meta(ge=1_000, le=86_400_000)] = REQUEST_TIMEOUT_MS
    openai_url: str = OPENAI_URL
    anthropic_url: str = ANTHROPIC_URL
    model_provider: ModelProvider | None = None
    tools: str | None = None
    api_host: str = API_HOST
    api_port: Annotated[int, Meta(ge=0, le=65_535)] = API_PORT
    api_hosts: Annotated[str, Meta(pattern=_HOSTS)] | None = None
    api_proxies: str | None = None
    api_key_required: bool = False
    api_body_bytes_max: Annotated[int, Meta(ge=_KIB, le=512 * _MIB)] = API_BODY_BYTES_MAX
    api_body_values_max: Annotated[int, Meta(ge=1_000, le=100_000_000)] = API_BODY_VALUES_MAX
    api_connections_max: Annotated[int, Meta(ge=1, le=1_000_000)] = API_CONNECTIONS_MAX
    api_address_connections_max: Annotated[int, Meta(ge=1, le=1_000_000)] = API_ADDRESS_CONNECTIONS_MAX
    api_requests_per_s: Annotated[int, Meta(ge=1, le=1_000_000)] = API_REQUESTS_PER_S
    api_session_s: Annotated[float, Meta(ge=60, le=90 * 86_400)] = API_SESSION_S
    metrics_port: Annotated[int, Meta(ge=0, le=65_535)] | None = None
    metrics_host: Annotated[str, Meta(min_length=1, description=_HOST_ALLOWED)] = METRICS_HOST
    otlp_url: str | None = None
    keeper_linger_s: Annotated[float, Meta(ge=0, le=86_400)] = 10.0

    def show(self) -> dict[str, str | int | float | bool | None]:
        """Every field as a plain value, passwords masked; the order is that of the fields."""
        plain: dict[str, str | int | float | bool | None] = {}
        for name in self.__struct_fields__:
            value: object = getattr(self, name)
            if name in SECRETS and value is not None:
                value = "***"
            is_url = name.endswith("_url") and isinstance(value, str)
            text = mask_password(str(value)) if is_url else str(value)
            plain[name] = value if value is None or isinstance(value, int | float) else text
        return plain

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.show().items())
        return f"Settings({fields})"


class SettingsError(ValueError):
    """A value that cannot be used. field: its name; source: where it came from; allowed: what it may be."""

    def __init__(self, field: str, source: str, allowed: str, *, hint: str = "") -> None:
        super().__init__(field, source, allowed, hint)
        self.field = field
        self.source = source
        self.allowed = allowed
        self.hint = hint

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.field or 'settings'} from {self.source}: {self.allowed}{hint}"


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """A raw value: where it came from, and the directory a relative path in it is meant from."""

    value: object
    source: str
    base: Path


FIELDS: tuple[str, ...] = Settings.__struct_fields__


def load_settings(
    flags: Mapping[str, object],
    *,
    options: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> tuple[Settings, dict[str, str]]:
    """Find every field's value, and where it came from: ``--lease-ms``, ``COURANTE_LEASE_MS``, a file or ``default``.

    flags: by field name; None means not given. options: by field name, how a flag is written where that is not
    ``--`` and the field. environ and cwd: those of the process. Raises SettingsError.
    """
    variables = os.environ if environ is None else environ
    here = Path.cwd() if cwd is None else cwd
    found: dict[str, _Found] = {
        name: _Found(value=value, source=DEFAULT, base=here) for name, value in _defaults(variables)
    }
    found |= _from_file(variables, here)
    for name in FIELDS:
        variable = variable_of(name)
        if variables.get(variable):  # an empty one counts as not set, as compose files leave them
            found[name] = _Found(value=variables[variable], source=variable, base=here)
    for name, value in flags.items():
        if name not in FIELDS:
            raise SettingsError(name, "flags", "no such setting", hint=did_you_mean(name, FIELDS))
        if value is not None:
            option = (options or {}).get(name, f"--{name.replace('_', '-')}")
            found[name] = _Found(value=value, source=option, base=here)
    types = get_type_hints(Settings, include_extras=True)
    values: dict[str, Any] = {name: _decode(name, one, types[name]) for name, one in found.items()}
    settings = Settings(**values)
    sources = {name: found[name].source for name in FIELDS}
    _check_together(settings, sources)
    return settings, sources


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Warnings about ``COURANTE_*`` variables that nothing reads, each with the nearest one that exists."""
    variables = os.environ if environ is None else environ
    known = {CONFIG_VARIABLE, FAULT_VARIABLE, *map(variable_of, FIELDS)}
    ours = (name for name in variables if name.startswith(PREFIX) and not name.startswith(SECRET_PREFIX))
    strangers = sorted(name for name in ours if name not in known | SCRIPT_VARIABLES)
    return [f"{name} is not a setting; {did_you_mean(name, known)}".rstrip("; ") for name in strangers]


def read_ages(text: str) -> dict[str, int]:
    """Return durations in ms by name, from ``orders=30d, mails=7d``. Raises ValueError."""
    ages: dict[str, int] = {}
    for word in filter(None, map(str.strip, text.split(","))):
        name, _, age = map(str.strip, word.partition("="))
        ms = parse_duration(age) or 0
        if not name or name in ages or ms < DAY_MS:
            raise ValueError(f"got {word!r}")
        ages[name] = ms
    return ages


_READERS: Mapping[str, Callable[[str], object]] = {
    "api_proxies": read_networks,
    "http_allow": read_reach,
    "http_proxy": read_proxy,
    "retain_payloads_of": read_ages,
}
"""What is more than a type: each raises ValueError."""


def variable_of(field: str) -> str:
    return PREFIX + field.upper()


def _defaults(variables: Mapping[str, str]) -> list[tuple[str, object]]:
    base = variables.get("XDG_DATA_HOME") or "~/.local/share"
    fields = msgspec.structs.fields(Settings)
    return [("home", f"{base}/courante"), *((field.name, field.default) for field in fields if field.name != "home")]


def _from_file(variables: Mapping[str, str], here: Path) -> dict[str, _Found]:
    named = variables.get(CONFIG_VARIABLE)
    path = here / named if named else here / FILE_NAME
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        if named:
            raise SettingsError("", CONFIG_VARIABLE, f"there is no file {path}") from cause
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise SettingsError("", str(path), f"the file cannot be read: {cause}") from cause
    for name in document:
        if name not in FIELDS:
            raise SettingsError(name, str(path), "no such setting", hint=did_you_mean(name, FIELDS))
    return {name: _Found(value=value, source=str(path), base=path.parent) for name, value in document.items()}


def _decode(name: str, found: _Found, kind: object) -> object:
    is_text = isinstance(found.value, str) and found.source != DEFAULT
    if name == "home":
        return _decode_home(found)
    try:
        # text comes from the environment or a flag, where every value is text; a file has types of its own
        value: object = msgspec.convert(found.value, type=kind, strict=not is_text or _is_file(found))
    except msgspec.ValidationError as cause:
        given = "" if name.endswith("_url") or name in SECRETS else f"; got {found.value!r}"
        raise SettingsError(name, found.source, f"expected {_TEXTS.get(name) or _allowed(kind)}{given}") from cause
    if name in _SCHEMES and isinstance(value, str):
        fault, hint = url_fault(value, _SCHEMES[name], is_alone=name == "api_url")
        if fault:
            raise SettingsError(name, found.source, fault, hint=hint)
    if name in _READERS and isinstance(value, str):
        try:
            _READERS[name](value)
        except ValueError as cause:
            raise SettingsError(name, found.source, f"expected {_TEXTS[name]}; {cause}") from cause
    if _TEXTS.get(name) == _AGE and isinstance(value, str) and (parse_duration(value) or 0) < DAY_MS:
        raise SettingsError(name, found.source, f"expected {_AGE}; got {value!r}")
    if name in ("api_key_file", "secrets_dir", "key_ring", "prices", "tools", "retain_archive") and value:
        return str(found.base / Path(str(value)).expanduser())
    return value


def _allowed(kind: object) -> str:
    """What a field takes, in words, made from its type and limits."""
    if kind is bool:
        return "true or false"
    if kind is LogLevel:
        return f"one of {', '.join(LogLevel)}"
    limits = next((meta for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, Meta)), None)
    if limits is None:
        return "a URL"
    if limits.description:
        return limits.description
    number = "a number" if getattr(kind, "__origin__", int) is float else "a whole number"
    return f"{number} from {limits.ge} to {limits.le}" if limits.le is not None else f"{number}, at least {limits.ge}"


def _is_file(found: _Found) -> bool:
    return os.sep in found.source


def _decode_home(found: _Found) -> Path:
    if not isinstance(found.value, str | Path) or "\0" in str(found.value):
        raise SettingsError("home", found.source, "expected the path of a directory")
    try:
        # resolve() would follow links, and the path that was given is the one to show
        return Path(os.path.abspath(found.base / Path(found.value).expanduser()))  # noqa: PTH100
    except RuntimeError as cause:
        raise SettingsError("home", found.source, "the home directory of the user is unknown") from cause


def _check_together(settings: Settings, sources: Mapping[str, str]) -> None:
    for smaller, larger in (("outbox_entries_soft", "outbox_entries_hard"), ("inline_bytes_max", "payload_bytes_max")):
        low, high = getattr(settings, smaller), getattr(settings, larger)
        if low > high:
            source = sources[smaller] if sources[smaller] != DEFAULT else sources[larger]
            raise SettingsError(smaller, source, f"{low} is more than {larger}, which is {high} ({sources[larger]})")
