"""Node fields: one reader per field of a node, and the same for ``defaults``."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from .approvals import read_approval, read_gate
from .caches import CACHEABLE
from .diagnostics import Path
from .findings import WORD_CHARS_MAX, Findings, quote
from .guesses import JOIN_GUESSES, NODE_GUESSES, TYPE_GUESSES
from .node_types import NODE_TYPES, Config, read_config
from .reading import (
    FAILURE_PATTERN,
    NODE_ID_PATTERN,
    QUEUE_PATTERN,
    is_extension,
    missing_field,
    read_boolean,
    read_choice,
    read_duration,
    read_expression,
    read_fields,
    read_id,
    read_ids,
    read_integer,
    read_list,
    read_mapping,
    read_number,
    read_object,
    read_pattern,
    read_text,
    wrong_type,
)
from .shares import read_pace, read_share
from .signals import read_signal
from .workflow import Approval, Cache, FailureClass, Join, JoinPolicy, Json, Loop, Node, Retry, Routing, Rule, Signal

PRIORITIES = ("high", "normal", "low")
CACHE_SCOPES = ("global", "run_only")
CACHE_HINT = "write cache: {scope: global, ttl: 1d}, cache: run_only, or cache: false"
MODES = ("first", "all")
JOIN_WORDS = ("all", "every", "any", "each")
ATTEMPTS_MAX = 1_000
ITERATIONS_MAX = 1_000_000
FAILURE_WORDS = (*(each.value for each in FailureClass), "4xx", "5xx")
ROUTING_FIELDS = ("rules", "default", "mode")
TIMEOUTS = ("timeout", "queue_timeout", "heartbeat_timeout")


class Declared(msgspec.Struct, frozen=True):
    """A node as it was read, with what belongs to the edges. ``index``: its place in the document."""

    node: Node
    index: int
    depends_on: tuple[str, ...]


def read_node(value: Json, index: int, defaults: dict[str, Any], findings: Findings) -> Declared:
    """Read one node. ``defaults``: made by ``read_defaults``.

    One that is no object or has no id bears the name ``unnamed(index)``, so that the others keep their numbers.
    """
    path: Path = ("nodes", index)
    if not isinstance(value, dict):
        wrong_type(findings, path, "an object", value)
        return Declared(Node(id=unnamed(index), type=""), index, ())
    made = _read_known(cast("dict[str, Json]", value), path, findings)
    depends_on = made.pop("depends_on", ())
    retry = read_retry(defaults, made, path, findings)
    routing, config = _routing(made, path, findings)
    approval, signal, config = _waits(made, defaults, config, path, findings)
    config = read_config(made.get("type", ""), config, (*path, "config"), findings)
    if "input" in made and "input_selector" in config and made.get("type") == "function":
        message = "'input' and 'config.input_selector' exclude each other"
        findings.error("conflicting_fields", message, (*path, "input"), "leave one of them out")
    fields: dict[str, Any] = {"type": "", **defaults, **made}
    if "cache" not in made and fields["type"] not in CACHEABLE:
        fields.pop("cache", None)
    if fields["type"] in _WAITED_FOR:
        _leave_out_held(fields, made, path, findings)
    fields.update({f"{field}_ms": fields[field] for field in TIMEOUTS if field in fields})
    fields.update(id=made.get("id") or unnamed(index))
    fields.update(retry=retry, routing=routing, config=config, approval=approval, signal=signal)
    return Declared(Node(**{field: fields[field] for field in fields if field not in _NOT_OF_NODE}), index, depends_on)


def unnamed(index: int) -> str:
    """What stands in the place of an id that cannot be read, or that another node has: nobody can refer to it."""
    return f"nodes[{index}]"


def _leave_out_held(fields: dict[str, Any], made: dict[str, Any], path: Path, findings: Findings) -> None:
    """What a step has while it runs means nothing to one that is only waited for, also where ``defaults`` says it."""
    for name in _HELD:
        if made.get(name):
            message = f"{name!r} is left out: a node of type {fields['type']!r} is only waited for, and never runs"
            findings.warning("ignored_field", message, (*path, name), "say it at the step that comes then")
        fields.pop(name, None)


def _read_known(written: dict[str, Json], path: Path, findings: Findings) -> dict[str, Any]:
    """What the readers make of the fields that are there, misspelt ones too. Extensions go into the metadata."""
    made = read_fields(written, path, findings, _READERS, ("id", "type"), guesses=NODE_GUESSES)
    extensions = {name: below for name, below in written.items() if is_extension(name)}
    made["metadata"] = {**extensions, **made.get("metadata", {})}
    return made


def read_defaults(value: Json, path: Path, findings: Findings) -> dict[str, Any]:
    """The fields that ``defaults`` gives to every node."""
    return read_fields(value, path, findings, DEFAULTS_READERS)


def read_retry(defaults: dict[str, Any], made: dict[str, Any], path: Path, findings: Findings) -> Retry:
    """Fields of the node's ``retry`` go before those of the defaults, one by one."""
    fields: dict[str, Any] = {}
    for level in (defaults, made):
        fields.update(level.get("retry", {}))
        if "max_retries" in level:
            if level is made and "max_attempts" in made.get("retry", {}):
                message = "'max_retries' and 'retry.max_attempts' exclude each other"
                hint = "max_attempts counts every try, from 1; max_retries does not count the first"
                findings.error("conflicting_fields", message, (*path, "max_retries"), hint)
            fields["max_attempts"] = level["max_retries"] + 1
    if not fields:
        return _RETRY
    base_ms, max_ms = fields.get("base_ms", _RETRY.base_ms), fields.get("max_ms")
    if max_ms is None:
        fields["max_ms"] = max(base_ms, _RETRY.max_ms)
    elif max_ms < base_ms:
        message = f"retry.max ({max_ms} ms) is less than retry.base ({base_ms} ms)"
        findings.error("conflicting_fields", message, (*path, "retry"), "raise max or lower base")
    return Retry(**fields)


_RETRY = Retry()
_WAITED_FOR = frozenset({"approval", "signal"})
_HELD = ("mutex", "concurrency", "rate_limit")
_NOT_OF_NODE = frozenset({*ROUTING_FIELDS, *TIMEOUTS, "max_retries", "requires_approval"})


def _waits(
    made: dict[str, Any], defaults: dict[str, Any], config: Config, path: Path, findings: Findings
) -> tuple[Approval | None, Signal | None, Config]:
    """What the node waits for before it runs or instead; and the config without it."""
    gate: Approval | None = made.get("requires_approval", defaults.get("requires_approval"))
    if made.get("type") not in {"approval", "signal"}:
        return gate, None, config
    place = (*path, "config")
    left = {name: below for name, below in config.items() if is_extension(name)}
    if made["type"] == "signal":
        return gate, read_signal(config, place, findings), left
    if made.get("requires_approval") is not None:
        message = "a node of type approval is one already"
        hint = "say form, expires and the others in its config"
        findings.error("conflicting_fields", message, (*path, "requires_approval"), hint)
    return read_approval(config, place, findings), None, left


def _routing(made: dict[str, Any], path: Path, findings: Findings) -> tuple[Routing | None, Config]:
    """Routing from the node, or from the config of a conditional; and the config without it."""
    config: Config = made.get("config", {})
    place = path
    fields = {name: made[name] for name in ROUTING_FIELDS if name in made}
    if made.get("type") == "conditional":
        inside = {name: config[name] for name in ROUTING_FIELDS if name in config}
        config = {name: below for name, below in config.items() if name not in inside}
        if inside and fields:
            message = "routing both on the node and in its config"
            findings.error("conflicting_fields", message, (*path, next(iter(fields))), "leave it in config only")
        elif inside:
            place = (*path, "config")
            fields = read_fields(inside, place, findings, _ROUTING_READERS)
        if not inside and "rules" not in fields and "default" not in fields:
            missing_field("rules", (*path, "config"), findings, "write rules: [{when: ..., next: ...}]")
    if not fields:
        return None, config
    if "rules" not in fields and "default" not in fields:
        missing_field("rules", place, findings, "'mode' alone routes nothing")
    routing = Routing(
        rules=fields.get("rules", ()), default=fields.get("default", ()), mode=fields.get("mode", "first")
    )
    return routing, config


def _rules(value: Json, path: Path, findings: Findings) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for index, each in enumerate(read_list(value, path, findings)):
        fields = read_fields(each, (*path, index), findings, _RULE_READERS, ("when", "next"))
        if not fields.get("next", True) and isinstance(each, dict) and not each.get("next", True):  # pyright: ignore[reportUnknownMemberType]
            findings.error("missing_field", "next names no node", (*path, index, "next"), "lead it to a noop")
        rules.append(Rule(when=fields.get("when", "null"), next=fields.get("next", ())))
    return tuple(rules)


def _loop(value: Json, path: Path, findings: Findings) -> Loop:
    fields = read_fields(value, path, findings, _LOOP_READERS, ("while", "back_to"))
    return Loop(
        condition=fields.get("while", "null"),
        back_to=fields.get("back_to") or "",
        max_iterations=fields.get("max_iterations", 1_000),
        on_exhausted=fields.get("on_exhausted", ()),
        delay_ms=fields.get("delay", 0),
    )


def _join(value: Json, path: Path, findings: Findings) -> Join:
    if isinstance(value, dict):
        fields = read_fields(cast("dict[str, Json]", value), path, findings, _JOIN_READERS, ("at_least",))
        return Join(policy=JoinPolicy.AT_LEAST, n=fields.get("at_least", 1))
    guess = JOIN_GUESSES.get(value) if isinstance(value, str) else None
    hint = "write {at_least: n}" if isinstance(value, int) else guess.hint if guess is not None else ""
    word = read_choice(value, path, findings, JOIN_WORDS, "all", hint=hint)
    return Join(policy=JoinPolicy(word))


def _retry(value: Json, path: Path, findings: Findings) -> dict[str, Any]:
    fields = read_fields(value, path, findings, _RETRY_READERS, hint="write retry: {max_attempts: 3}")
    return {_RETRY_NAMES.get(name, name): below for name, below in fields.items()}


def _retry_on(value: Json, path: Path, findings: Findings) -> tuple[str, ...]:
    """Classes of failures, HTTP statuses, exception types and codes; a status may be a number."""
    words: list[str] = []
    for index, each in enumerate(read_list(value, path, findings)):
        place = (*path, index)
        if isinstance(each, int) and not isinstance(each, bool) and 100 <= each <= 599:
            words.append(str(each))
        else:
            words.append(read_pattern(each, place, findings, FAILURE_PATTERN, "bad_name"))
        if words[-1] and _is_odd(words[-1]):
            hint = findings.suggest(words[-1].lower(), FAILURE_WORDS) or "one of: " + ", ".join(FAILURE_WORDS)
            told = (
                f"{quote(words[-1])} is no class of failures and no HTTP error: taken for the name of an exception type"
            )
            findings.warning("unknown_failure", told, place, hint)
    return tuple(dict.fromkeys(words))


def _is_odd(word: str) -> bool:
    """Whether a word of ``retry.on`` is meant for a class or a status, as far as one can see, and is none."""
    if word in (*FAILURE_WORDS, "TIMEOUT", "OUTPUT_INVALID") or re.fullmatch("[45][0-9][0-9]", word):
        return False
    return word.isdigit() or word.lower() in FAILURE_WORDS or re.fullmatch("[a-z_-]*(?<!error)", word) is not None


def _cache(value: Json, path: Path, findings: Findings) -> Cache | None:
    """An object, only its scope, or false: not cached whatever ``defaults`` says."""
    if value is False:
        return None
    if isinstance(value, str):
        return Cache(scope=read_choice(value, path, findings, CACHE_SCOPES, "global"))
    fields = read_fields(value, path, findings, _CACHE_READERS, hint=CACHE_HINT)
    return Cache(scope=fields.get("scope", "global"), ttl_ms=fields.get("ttl"))


def _input(value: Json, path: Path, findings: Findings) -> str | dict[str, str]:
    if isinstance(value, dict):
        return read_mapping(cast("dict[str, Json]", value), path, findings)
    return read_expression(value, path, findings)


def _node_id(value: Json, path: Path, findings: Findings) -> str:
    """The id, one of a wrong pattern too: others may refer to it. Too long a one would stand in every message."""
    kept = value if isinstance(value, str) and len(value) <= WORD_CHARS_MAX else ""
    return read_pattern(value, path, findings, NODE_ID_PATTERN, "bad_id") or kept


def _node_type(value: Json, path: Path, findings: Findings) -> str:
    """The type, the one that was meant where it is misspelt, else an empty one."""
    if isinstance(value, str) and value in NODE_TYPES:
        return value
    guess = TYPE_GUESSES.get(value) if isinstance(value, str) else None
    meant = findings.nearest(value, NODE_TYPES) if guess is None else guess.meant
    hint = guess.hint if guess is not None else f"did you mean {meant!r}?" if meant else ""
    hint = hint or "one of: " + ", ".join(NODE_TYPES)
    findings.error("unknown_type", f"there is no node type {quote(value)}", path, hint)
    return meant


def _priority(value: Json, path: Path, findings: Findings) -> str:
    return read_choice(value, path, findings, PRIORITIES, "normal")


def _queue(value: Json, path: Path, findings: Findings) -> str:
    return read_pattern(value, path, findings, QUEUE_PATTERN, "bad_name")


def _timeout(value: Json, path: Path, findings: Findings) -> int:
    return read_duration(value, path, findings, low_ms=1)


def _max_retries(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=0, high=ATTEMPTS_MAX - 1)


def _max_attempts(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=1, high=ATTEMPTS_MAX)


def _factor(value: Json, path: Path, findings: Findings) -> float:
    return read_number(value, path, findings, low=1, high=100)


def _max_iterations(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=1, high=ITERATIONS_MAX)


def _at_least(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=1, high=ITERATIONS_MAX)


def _mode(value: Json, path: Path, findings: Findings) -> str:
    return read_choice(value, path, findings, MODES, "first")


def _scope(value: Json, path: Path, findings: Findings) -> str:
    return read_choice(value, path, findings, CACHE_SCOPES, "global")


_RULE_READERS = {"when": read_expression, "next": read_ids}
_ROUTING_READERS = {"rules": _rules, "default": read_ids, "mode": _mode}
_JOIN_READERS = {"at_least": _at_least}
_CACHE_READERS = {"scope": _scope, "ttl": _timeout}
_LOOP_READERS = {
    "while": read_expression,
    "back_to": read_id,
    "max_iterations": _max_iterations,
    "on_exhausted": read_ids,
    "delay": read_duration,
}
_RETRY_READERS = {
    "max_attempts": _max_attempts,
    "base": read_duration,
    "factor": _factor,
    "max": read_duration,
    "jitter": read_boolean,
    "on": _retry_on,
}
_RETRY_NAMES = {"base": "base_ms", "max": "max_ms"}
DEFAULTS_READERS = {
    "retry": _retry,
    "max_retries": _max_retries,
    "timeout": _timeout,
    "queue_timeout": _timeout,
    "heartbeat_timeout": _timeout,
    "cache": _cache,
    "queue": _queue,
    "priority": _priority,
    "requires_approval": read_gate,
    "concurrency": read_share,
    "rate_limit": read_pace,
}
_READERS = {
    **DEFAULTS_READERS,
    **_ROUTING_READERS,
    "id": _node_id,
    "type": _node_type,
    "name": read_text,
    "config": read_object,
    "depends_on": read_ids,
    "input": _input,
    "when": read_expression,
    "join": _join,
    "on_error": read_ids,
    "compensate": read_id,
    "mutex": _queue,
    "while_waiting": read_id,
    "cancels": read_ids,
    "loop": _loop,
    "metadata": read_object,
}
NODE_FIELDS = tuple(_READERS)
