"""What a node of the graph dialect does -> a native type and its config.

Code has many names in this family: ``function``, ``function_name``, ``name``, in older documents ``action``,
``transformation`` or a reference to a stored config. All of them name a registered function.
"""

from __future__ import annotations

from ..diagnostics import Path
from ..findings import Findings
from .paths import with_variables
from .translation import Fields, as_fields, as_text, ignore_unknown, in_ms, move

TYPES = {
    "loop": "noop", "parallel": "noop", "aggregate": "noop", "start": "noop", "end": "noop", "task": "function",
    "hitl": "approval", "human": "approval",
}  # fmt: skip
CODE = frozenset({"handler", "function", "function_name", "action"})
"""Fields of a config that name a function; ``name`` does so where nothing else could be meant."""
_HANDLERS = {"function": "handler", "function_name": "handler", "action": "handler", "name": "handler"}
_ROUTING = frozenset({"rules", "default", "mode"})
_RETRY = frozenset({"backoff_ms", "backoff_multiplier"})
_FILTER = {"condition": "where", "expression": "where", "filter_expression": "where", "array": "items"}


def put_work(node: Fields, written: Fields, config: Fields, path: Path, findings: Findings) -> None:
    """Set type and config of a node. ``config``: what stands there and is no routing and no loop."""
    kind = as_text(written.get("type"))
    if "type" in written:
        node["type"] = TYPES.get(kind, written["type"])
    if kind == "task":
        _read_old_settings(node, written, config)
    if kind == "loop" and CODE & config.keys():
        node["type"] = "function"
    elif kind == "task" and not config:
        node["type"] = "noop"
    elif kind == "transform" and isinstance(config.get("transformation"), str):
        node["type"] = "function"
        config["handler"] = config.pop("transformation")
    if node.get("type") == "function":
        move(config, config, _HANDLERS)
    elif kind == "filter":
        _read_filter(config)
    elif as_text(node.get("type")) in {"noop", "conditional"}:
        known = _ROUTING if node["type"] == "conditional" else frozenset[str]()
        ignore_unknown(config, (*path, "config"), findings, known, lenient=True)
        for name in config.keys() - known:
            del config[name]
    if config:
        node["config"] = config
    _read_limits(node, written)


def _read_old_settings(node: Fields, written: Fields, config: Fields) -> None:
    """A task of the older form: limits stand in its config, and the config may be stored elsewhere."""
    if "config_ref" in written and not (CODE | {"name"}) & config.keys():
        reference = written["config_ref"]
        config["handler"] = as_fields(reference).get("cas_ref", reference)
    if "timeout" in config:
        node.setdefault("timeout", config.pop("timeout"))
    if "retries" in config and "retry" not in written:
        node.setdefault("max_retries", config.pop("retries"))


def _read_filter(config: Fields) -> None:
    """In the older form the item is called ``value``."""
    expression = config.get("filter_expression")
    if isinstance(expression, str):
        config["filter_expression"] = with_variables(expression, {"value": "item"})
    move(config, config, _FILTER)
    for name in _FILTER:
        config.pop(name, None)


def _read_limits(node: Fields, written: Fields) -> None:
    if "timeout_ms" in written:
        node["timeout"] = in_ms(written["timeout_ms"])
    if isinstance(written.get("retry"), dict):
        retry = as_fields(written["retry"])
        made: Fields = {name: retry[name] for name in retry if name not in _RETRY}
        if "backoff_ms" in retry:
            made["base"] = in_ms(retry["backoff_ms"])
        if "backoff_multiplier" in retry:
            made["factor"] = retry["backoff_multiplier"]
        node["retry"] = made
