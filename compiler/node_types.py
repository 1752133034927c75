"""Node types: their names, and what the config of each must look like.

Configs of types without a reader are only checked to be objects. ``function`` and ``tool`` configs may hold further
fields: they are the business of the user's own code.
Checked configs come back in one spelling of durations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .agent_config import read_agent
from .diagnostics import Path
from .durations import format_duration
from .findings import Findings
from .http_config import read_http
from .json_schema import read_json_schema
from .llm_config import read_llm
from .maps import read_aggregate, read_map
from .reading import (
    missing_field,
    read_boolean,
    read_duration,
    read_expression,
    read_fields,
    read_mapping,
    read_text,
    with_extensions,
    wrong_type,
)
from .subflows import read_subflow
from .tool_config import read_tool
from .workflow import Json

Config = dict[str, Json]
ConfigReader = Callable[[Config, Path, Findings], Config]

NODE_TYPES = (
    "function", "http", "llm", "tool", "agent", "transform", "filter", "aggregate", "validate", "conditional", "map",
    "subflow", "approval", "wait", "signal", "noop", "echo", "sleep",
)  # fmt: skip


def read_config(node_type: str, config: Config, path: Path, findings: Findings) -> Config:
    """Check a config and fill it in. A type without a reader keeps its config as it is."""
    reader = _READERS.get(node_type)
    return reader(config, path, findings) if reader else config


def _only(config: Config, path: Path, findings: Findings, readers: dict[str, Any], *required: str) -> Config:
    """Read a closed config; extensions are kept as they are."""
    made = read_fields(config, path, findings, readers, required)
    return with_extensions(config, made)


def _function(config: Config, path: Path, findings: Findings) -> Config:
    if "handler" not in config:
        missing_field("handler", path, findings, "the registered name of a Python function")
    elif not isinstance(config["handler"], str):
        wrong_type(findings, (*path, "handler"), "a string", config["handler"])
    elif not config["handler"].strip():
        findings.error("missing_field", "handler is empty", (*path, "handler"), "name a registered function")
    selector = config.get("input_selector", "a name")
    if not isinstance(selector, str) or not selector.strip():
        wrong_type(findings, (*path, "input_selector"), "the registered name of a Python function", selector)
    return config


def _noop(config: Config, path: Path, findings: Findings) -> Config:
    return _only(config, path, findings, {})


def _echo(config: Config, path: Path, findings: Findings) -> Config:
    return _only(config, path, findings, {"value": _anything}, "value")


def _sleep(config: Config, path: Path, findings: Findings) -> Config:
    return _only(config, path, findings, {"for": _duration_or_template}, "for")


def _wait(config: Config, path: Path, findings: Findings) -> Config:
    made = _only(config, path, findings, {"for": _duration_or_template, "until": read_expression})
    _exactly_one(made, path, findings, "for", "until")
    return made


def _transform(config: Config, path: Path, findings: Findings) -> Config:
    """Without ``mapping`` or ``expression`` a transform passes its input on."""
    made = _only(config, path, findings, {"mapping": read_mapping, "expression": read_expression})
    if "mapping" in made and "expression" in made:
        _exactly_one(made, path, findings, "mapping", "expression")
    return made


def _filter(config: Config, path: Path, findings: Findings) -> Config:
    """``items`` left out: the node's input is the list."""
    return _only(config, path, findings, {"items": read_expression, "where": read_expression}, "where")


def _http(config: Config, path: Path, findings: Findings) -> Config:
    made = read_http(config, path, findings)
    return with_extensions(config, made)


def _llm(config: Config, path: Path, findings: Findings) -> Config:
    made = read_llm(config, path, findings)
    return with_extensions(config, made)


def _agent(config: Config, path: Path, findings: Findings) -> Config:
    made = read_agent(config, path, findings)
    return with_extensions(config, made)


def _validate(config: Config, path: Path, findings: Findings) -> Config:
    """``value`` left out: the node's input is the value."""
    readers = {"schema": read_json_schema, "value": read_expression, "report": read_boolean}
    return _only(config, path, findings, readers, "schema")


_READERS: dict[str, ConfigReader] = {
    "function": _function,
    "http": _http,
    "tool": read_tool,
    "llm": _llm,
    "agent": _agent,
    "noop": _noop,
    "echo": _echo,
    "sleep": _sleep,
    "wait": _wait,
    "transform": _transform,
    "filter": _filter,
    "validate": _validate,
    "conditional": _noop,
    "map": read_map,
    "aggregate": read_aggregate,
    "approval": _noop,
    "signal": _noop,
    "subflow": read_subflow,
}
"""Of ``conditional``, ``approval`` and ``signal``: what means something has been taken out before (``node_fields``)."""


def _exactly_one(config: Config, path: Path, findings: Findings, first: str, second: str) -> None:
    if first in config and second in config:
        message = f"{first!r} and {second!r} exclude each other"
        findings.error("conflicting_fields", message, (*path, second), "leave one of them out")
    elif first not in config and second not in config:
        missing_field(first, path, findings, f"say {first!r} or {second!r}")


def _anything(value: Json, _path: Path, _findings: Findings) -> Json:
    return value


def _duration_or_template(value: Json, path: Path, findings: Findings) -> str:
    if isinstance(value, str) and "{{" in value:
        return read_text(value, path, findings)
    return format_duration(read_duration(value, path, findings))
