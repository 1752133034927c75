"""The native document as a JSON Schema (2020-12), for editors and for documents checked before they are sent.

It says what a schema can say: fields, types, patterns, which fields exclude each other. References between nodes,
duplicate ids and expressions are beyond it; everything that the native reader accepts, the schema accepts.
Published as ``docs/reference/workflow.schema.json``.
"""

from __future__ import annotations

from .agent_config import EXHAUSTED, TURNS_MAX
from .budgets import BUDGET_TOKENS_MAX, COST_MAX, CURRENCY_PATTERN
from .changes import CHANGES_SCHEMA
from .durations import DURATION_PATTERN
from .http_config import BODIES, BYTES_MAX, HEADER_PATTERN, METHODS, REDIRECTS_MAX, RESPONSES
from .limits import DURATION_MS_MAX
from .llm_config import KEY_FIELDS, OWN_FIELDS, PROVIDERS, ROLES, SECRET_PATTERN, STOPS_MAX, TEMPERATURE_MAX, TOKENS_MAX
from .maps import BATCH_MAX, ITEMS_MAX, PERCENT_PATTERN, POLICIES, WINDOW_MAX
from .native import PARALLEL_MAX, RETRY_BUDGET_MAX, STUCK_ACTIONS
from .node_fields import ATTEMPTS_MAX, CACHE_SCOPES, DEFAULTS_READERS, ITERATIONS_MAX, JOIN_WORDS, MODES, PRIORITIES
from .node_types import NODE_TYPES
from .reading import FAILURE_PATTERN, NODE_ID_PATTERN, QUEUE_PATTERN, SIGNAL_PATTERN, WORKFLOW_ID_PATTERN
from .shares import RATE_MAX, SLOTS_MAX
from .signals import EVENTS_MAX
from .subflows import LATEST, VERSION_MAX
from .tool_names import TOOL_NAME_PATTERN
from .workflow import Json, OnExhausted, OnFailure

Schema = dict[str, Json]

SCHEMA_ID = "urn:courante:workflow:1"


def workflow_json_schema() -> Schema:
    """A new copy of the schema."""
    fields: Schema = {
        "courante": {"const": 1, "description": "Version of this schema."},
        "id": {"type": "string", "pattern": WORKFLOW_ID_PATTERN},
        "name": {"type": "string"},
        "description": {"type": "string"},
        "input": {"type": "object", "description": "JSON Schema of the run's input, checked when a run starts."},
        "output": _ref("expression", "What the run returns; left out: the outputs of the terminal nodes by id."),
        "policy": _ref("policy"),
        "defaults": _ref("defaults"),
        "nodes": {"type": "array", "minItems": 1, "items": _ref("node")},
        "edges": {"type": "array", "items": _ref("edge")},
        "changes": CHANGES_SCHEMA,
        "metadata": {"type": "object"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Courante workflow",
        **_closed(fields, "courante", "id", "nodes"),
        "$defs": _definitions(),
    }


def _ref(name: str, description: str = "") -> Schema:
    found: Schema = {"$ref": f"#/$defs/{name}"}
    return {**found, "description": description} if description else found


def _closed(fields: Schema, *required: str) -> Schema:
    """An object of these fields; names that begin with ``x-`` are always allowed."""
    closed: Schema = {
        "type": "object",
        "properties": fields,
        "patternProperties": {"^x-": True},
        "additionalProperties": False,
    }
    return {**closed, "required": list(required)} if required else closed


def _between(low: int, high: int, kind: str = "integer") -> Schema:
    return {"type": kind, "minimum": low, "maximum": high}


def _definitions() -> Schema:
    node = _node_fields()
    return {
        "expression": {"type": ["string", "number", "boolean"], "pattern": r"\S", "description": "CEL."},
        "mapping": {
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean", "null"], "pattern": r"\S"},
            "description": "A CEL expression per field.",
        },
        "duration": {
            "oneOf": [
                {"type": "string", "pattern": DURATION_PATTERN},
                _between(0, DURATION_MS_MAX // 1_000, "number"),
            ],
            "description": "250ms, 30s, 10m, 1h, 2d, or seconds as a number.",
        },
        "duration_or_template": {
            "anyOf": [_ref("duration"), {"type": "string", "pattern": r"\{\{"}],
        },
        "node_id": {"type": "string", "pattern": NODE_ID_PATTERN},
        "node_ids": {"oneOf": [_ref("node_id"), {"type": "array", "items": _ref("node_id")}]},
        "targets": {"oneOf": [_ref("node_id"), {"type": "array", "minItems": 1, "items": _ref("node_id")}]},
        "rule": _closed({"when": _ref("expression"), "next": _ref("targets")}, "when", "next"),
        "rules": {"type": "array", "items": _ref("rule")},
        "mode": {"enum": list(MODES)},
        "join": {"oneOf": [{"enum": list(JOIN_WORDS)}, _closed({"at_least": _between(1, ITERATIONS_MAX)}, "at_least")]},
        "retry": _retry(),
        "cache": {
            "oneOf": [
                {"enum": [*CACHE_SCOPES, False]},
                _closed({"scope": {"enum": list(CACHE_SCOPES)}, "ttl": _ref("duration")}),
            ]
        },
        "share": _closed(
            {"key": _ref("expression"), "limit": _between(1, SLOTS_MAX), "fair": _ref("expression")}, "key", "limit"
        ),
        "pace": _closed(
            {"key": _ref("expression"), "limit": _between(1, RATE_MAX), "per": _ref("duration")}, "key", "limit", "per"
        ),
        "approval": _approval(),
        "event": {
            "oneOf": [_closed({"name": _ref("signal_name")}, "name"), _closed({"after": _ref("duration")}, "after")]
        },
        "signal_name": {"type": "string", "pattern": SIGNAL_PATTERN},
        "loop": _loop(),
        "policy": _closed(
            {
                "on_failure": {"enum": [word.value for word in OnFailure]},
                "timeout": _ref("duration"),
                "max_parallel": _between(1, PARALLEL_MAX),
                "retry_budget": _between(0, RETRY_BUDGET_MAX),
                "stuck": _closed({"after": _ref("duration"), "action": {"enum": list(STUCK_ACTIONS)}}, "after"),
                "budget": _budget(),
                "workflow_budget": _budget(),
            }
        ),
        "defaults": _closed({name: node[name] for name in DEFAULTS_READERS}),
        "edge": _closed({"from": _ref("node_id"), "to": _ref("node_id"), "when": _ref("expression")}, "from", "to"),
        "node": {**_closed(node, "id", "type"), "allOf": _configs()},
    }


def _retry() -> Schema:
    return _closed(
        {
            "max_attempts": _between(1, ATTEMPTS_MAX),
            "base": _ref("duration"),
            "factor": _between(1, 100, "number"),
            "max": _ref("duration"),
            "jitter": {"type": "boolean"},
            "on": {
                "type": "array",
                "items": {"oneOf": [{"type": "string", "pattern": FAILURE_PATTERN}, _between(100, 599)]},
            },
        }
    )


def _budget() -> Schema:
    fields: Schema = {
        "tokens": _between(0, BUDGET_TOKENS_MAX),
        "cost": _between(0, COST_MAX, "number"),
        "currency": {"type": "string", "pattern": CURRENCY_PATTERN},
        "on_exhausted": {"enum": [word.value for word in OnExhausted]},
    }
    return {**_closed(fields), "anyOf": [{"required": ["tokens"]}, {"required": ["cost"]}]}


def _approval() -> Schema:
    fields: Schema = {
        "form": {"type": "object", "description": "JSON Schema of the data that comes with the decision."},
        "expires": _ref("duration"),
        "escalate_to": {"type": "string", "pattern": r"\S"},
        "escalate_after": _ref("duration", "Left out: half of expires."),
        "separate_approver": {"type": "boolean", "description": "Who has started the run may not decide."},
    }
    needs: Schema = {"escalate_after": ["escalate_to"]}
    return {**_closed(fields), "dependentRequired": needs}


def _loop() -> Schema:
    return _closed(
        {
            "while": _ref("expression", "True goes back to back_to, with the next iteration."),
            "back_to": _ref("node_id"),
            "max_iterations": _between(1, ITERATIONS_MAX),
            "on_exhausted": _ref("node_ids"),
            "delay": _ref("duration"),
        },
        "while",
        "back_to",
    )


def _node_fields() -> Schema:
    return {
        "id": _ref("node_id"),
        "type": {"enum": list(NODE_TYPES)},
        "name": {"type": "string"},
        "config": {"type": "object"},
        "depends_on": _ref("node_ids"),
        "input": {"anyOf": [_ref("expression"), _ref("mapping")]},
        "when": _ref("expression"),
        "join": _ref("join"),
        "retry": _ref("retry"),
        "max_retries": _between(0, ATTEMPTS_MAX - 1),
        "timeout": _ref("duration", "Of one attempt."),
        "queue_timeout": _ref("duration", "Of waiting for a worker."),
        "heartbeat_timeout": _ref("duration", "Between two signs of life of the handler."),
        "cache": _ref("cache"),
        "queue": {"type": "string", "pattern": QUEUE_PATTERN},
        "priority": {"enum": list(PRIORITIES)},
        "requires_approval": {"oneOf": [{"type": "boolean"}, _ref("approval")]},
        "on_error": _ref("node_ids"),
        "compensate": _ref("node_id"),
        "mutex": {"type": "string", "pattern": QUEUE_PATTERN},
        "concurrency": {"oneOf": [{"const": False}, _ref("share")]},
        "rate_limit": {"oneOf": [{"const": False}, _ref("pace")]},
        "while_waiting": _ref("node_id"),
        "cancels": _ref("node_ids"),
        "loop": _ref("loop"),
        "rules": _ref("rules"),
        "default": _ref("node_ids"),
        "mode": _ref("mode"),
        "metadata": {"type": "object"},
    }


def _configs() -> list[Json]:
    """What the config of each checked type looks like."""
    routing: Schema = {"rules": _ref("rules"), "default": _ref("node_ids"), "mode": _ref("mode")}
    name: Schema = {"type": "string", "pattern": r"\S"}
    validate: Schema = {"schema": {"type": "object"}, "value": _ref("expression"), "report": {"type": "boolean"}}
    transform = _closed({"mapping": _ref("mapping"), "expression": _ref("expression")})
    wait = _closed({"for": _ref("duration_or_template"), "until": _ref("expression")})
    return [
        _config_of(
            "function",
            {"type": "object", "properties": {"handler": name, "input_selector": name}, "required": ["handler"]},
            is_required=True,
        ),
        _config_of("http", _http()),
        _config_of("tool", _tool(), is_required=True),
        _config_of("llm", _closed(_llm())),
        _config_of("agent", _agent()),
        _config_of("noop", _closed({})),
        _config_of("echo", _closed({"value": True}, "value"), is_required=True),
        _config_of("sleep", _closed({"for": _ref("duration_or_template")}, "for"), is_required=True),
        _config_of("wait", {**wait, "oneOf": [{"required": ["for"]}, {"required": ["until"]}]}, is_required=True),
        _config_of("transform", {**transform, "not": {"required": ["mapping", "expression"]}}),
        _config_of(
            "filter", _closed({"items": _ref("expression"), "where": _ref("expression")}, "where"), is_required=True
        ),
        _config_of("validate", _closed(validate, "schema"), is_required=True),
        _config_of("conditional", _closed(routing)),
        _config_of("map", _map()),
        _config_of("aggregate", _aggregate()),
        _config_of("approval", _ref("approval")),
        _config_of("signal", _signal(), is_required=True),
        _config_of("subflow", _subflow(), is_required=True),
    ]


def _http() -> Schema:
    scalar: Schema = {"type": ["string", "number", "boolean", "null"]}
    template: Schema = {"type": "string", "pattern": r"\{\{"}
    pairs: Schema = {
        "anyOf": [
            template,
            {
                "type": "object",
                "additionalProperties": {"oneOf": [scalar, {"type": "array", "items": scalar}]},
            },
        ]
    }
    status: Schema = {"oneOf": [_between(100, 599), {"type": "string", "pattern": "^[1-5]([0-9]{2}|[xX]{2})$"}]}
    methods: Schema = {"type": "string", "pattern": f"^({'|'.join(_any_case(method) for method in METHODS)})$"}
    text: Schema = {"type": "string"}
    fields: Schema = {
        "method": {"anyOf": [template, methods]},
        "url": {"type": "string", "pattern": r"\S", "description": "Left out: the node's input."},
        "headers": {"type": "object", "propertyNames": {"pattern": HEADER_PATTERN}, "additionalProperties": scalar},
        "query": pairs,
        "auth": _closed({"user": text, "password": text}, "user", "password"),
        "json": True,
        "form": pairs,
        "text": text,
        "bytes": {"type": "string", "description": "Base64."},
        "expect": {"oneOf": [status, {"type": "array", "minItems": 1, "items": status}]},
        "response": {"enum": list(RESPONSES)},
        "max_bytes": _between(0, BYTES_MAX),
        "redirects": _between(0, REDIRECTS_MAX),
        "connect_timeout": _ref("duration"),
        "read_timeout": _ref("duration"),
        "idempotency_key": {"oneOf": [{"type": "boolean"}, {"type": "string", "pattern": HEADER_PATTERN}]},
    }
    two = [(first, second) for place, first in enumerate(BODIES) for second in BODIES[place + 1 :]]
    return {**_closed(fields), "not": {"anyOf": [{"required": list(pair)} for pair in two]}}


def _tool() -> Schema:
    name: Schema = {"type": "string", "pattern": TOOL_NAME_PATTERN}
    template: Schema = {"type": "string", "pattern": r"\{\{"}
    fields: Schema = {
        "tool": {"anyOf": [template, name]},
        "allow": {"type": "array", "items": name, "description": "Which ones a name by template may give."},
    }
    return {"type": "object", "properties": fields, "required": ["tool"]}


def _llm() -> Schema:
    template: Schema = {"type": "string", "pattern": r"\{\{"}
    name: Schema = {"type": "string", "pattern": r"\S"}
    text: Schema = {"type": "string"}
    content: Schema = {"type": ["string", "array"], "items": {"type": "object"}}
    turns: Schema = {
        "type": "array",
        "items": _closed({"role": {"enum": list(ROLES)}, "content": content}, "role", "content"),
    }
    several: Schema = {"type": "array", "maxItems": STOPS_MAX, "items": name}
    temperature: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": TEMPERATURE_MAX}
    tokens: Schema = {"type": ["integer", "null"], "minimum": 1, "maximum": TOKENS_MAX}
    return {
        "provider": {"anyOf": [template, {"enum": list(PROVIDERS)}]},
        "model": name,
        "system": text,
        "prompt": {**text, "description": "Without it, and without messages: the node's input."},
        "messages": {"anyOf": [template, turns]},
        "schema": {"type": ["boolean", "object"], "description": "true: any JSON; an object: a JSON Schema."},
        "temperature": {"anyOf": [template, temperature]},
        "max_tokens": {"anyOf": [template, tokens]},
        "max_file_tokens": {"anyOf": [template, _between(1, TOKENS_MAX)]},
        "top_p": {"anyOf": [template, _between(0, 1, "number")]},
        "stop": {"anyOf": [name, several]},
        "stream": {"type": "boolean"},
        "base_url": {"anyOf": [template, {"type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"}]},
        "api_key_secret": {"type": "string", "pattern": SECRET_PATTERN},
        "extra": {"type": "object", "propertyNames": {"not": {"enum": sorted(OWN_FIELDS | KEY_FIELDS)}}},
        "echo": True,
    }


def _agent() -> Schema:
    tools: Schema = {"type": "array", "items": {"type": "string", "pattern": TOOL_NAME_PATTERN}}
    own: Schema = {"tools": tools, "max_turns": _between(1, TURNS_MAX), "on_exhausted": {"enum": list(EXHAUSTED)}}
    return _closed({**_llm(), **own})


def _any_case(word: str) -> str:
    return "".join(f"[{letter}{letter.lower()}]" for letter in word)


def _map() -> Schema:
    more = _closed({"signal": _ref("signal_name"), "expires": _ref("duration")}, "signal")
    fields: Schema = {
        "items": _ref("expression"),
        "max_concurrency": {"type": "integer", "minimum": 1, "maximum": WINDOW_MAX},
        "batch_size": {"type": "integer", "minimum": 1, "maximum": BATCH_MAX},
        "more": more,
    }
    return _closed(fields)


def _aggregate() -> Schema:
    share: Schema = {"type": "string", "pattern": PERCENT_PATTERN}
    number: Schema = {"type": "integer", "minimum": 0, "maximum": ITEMS_MAX}
    tolerate = _closed({"tolerate": {"anyOf": [number, share]}}, "tolerate")
    fields: Schema = {
        "policy": {"anyOf": [{"enum": list(POLICIES)}, tolerate]},
        "merge": {"type": "boolean"},
        "group": _ref("expression"),
        "reduce": _ref("expression"),
        "initial": True,
    }
    return _closed(fields)


def _signal() -> Schema:
    events: Schema = {"type": "array", "minItems": 1, "maxItems": EVENTS_MAX, "items": _ref("event")}
    one: Schema = {"required": ["name"], "not": {"required": ["first_of"]}}
    choice: Schema = {"required": ["first_of"], "not": {"anyOf": [{"required": ["name"]}, {"required": ["expires"]}]}}
    fields: Schema = {"name": _ref("signal_name"), "expires": _ref("duration"), "first_of": events}
    return {**_closed(fields), "oneOf": [one, choice]}


def _subflow() -> Schema:
    template: Schema = {"type": "string", "pattern": r"\{\{"}
    fields: Schema = {
        "workflow": {"anyOf": [template, {"type": "string", "pattern": WORKFLOW_ID_PATTERN}]},
        "version": {
            "oneOf": [{"const": LATEST}, _between(1, VERSION_MAX)],
            "description": "Left out: the latest one when the child run is started.",
        },
        "detached": {"type": "boolean", "description": "The step ends when its child run is accepted."},
    }
    return _closed(fields, "workflow")


def _config_of(node_type: str, config: Schema, *, is_required: bool = False) -> Schema:
    then: Schema = {"properties": {"config": config}}
    if is_required:
        then["required"] = ["config"]
    return {"if": {"properties": {"type": {"const": node_type}}, "required": ["type"]}, "then": then}
