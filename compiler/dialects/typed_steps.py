"""Run Engine's dialect: ``steps:`` with ``skill``, ``dependencies``, ``inputSelector`` and ``retryPolicy`` -> native.

A step is a ``function`` node whose handler is the skill. Steps run as soon as their dependencies allow; the order of
writing means nothing. ``inputSelector`` is an object of paths or expressions by field, one expression for the whole,
or ``callable:<name>``: a registered Python function that is given what expressions see and returns the input.
"""

from __future__ import annotations

from ..diagnostics import Path
from ..findings import Findings, quote
from ..reading import missing_field, wrong_type
from ..workflow import Json
from .paths import dotted_to_cel
from .translation import (
    Fields,
    Translation,
    as_fields,
    as_items,
    copy_metadata,
    first_of,
    ignore_unknown,
    in_ms,
    move,
    origin_by,
    slug,
)

CALLABLE = "callable:"
_IDS = ("id", "stepId")
_SKILLS = ("skill", "skillId")
_DEPENDENCIES = ("dependencies", "dependsOn", "depends_on")
_CACHES = ("cache", "cachePolicy", "cacheScope")
_ROOT_FIELDS = frozenset(
    {
        "id",
        "name",
        "description",
        "version",
        "steps",
        "dependencies",
        "input",
        "output",
        "policy",
        "changes",
        "metadata",
    }
)
_STEP_FIELDS = frozenset(
    {*_IDS, *_SKILLS, *_DEPENDENCIES, *_CACHES, "name", "description", "type", "config", "inputSelector",
     "retryPolicy", "timeoutMs", "requiresApproval", "queue", "priority", "metadata"}
)  # fmt: skip
_RETRY_FIELDS = frozenset({"maxAttempts", "backoffMs", "maxBackoffMs", "factor"})
_PLACES: dict[Path, Path] = {
    ("config", "handler"): ("skill",),
    ("config", "input_selector"): ("inputSelector",),
    ("config",): ("config",),
    ("depends_on",): ("dependencies",),
    ("input",): ("inputSelector",),
    ("retry", "max_attempts"): ("retryPolicy", "maxAttempts"),
    ("retry", "base"): ("retryPolicy", "backoffMs"),
    ("retry", "max"): ("retryPolicy", "maxBackoffMs"),
    ("retry",): ("retryPolicy",),
    ("timeout",): ("timeoutMs",),
    ("requires_approval",): ("requiresApproval",),
}


def translate_typed_steps(value: Fields, findings: Findings) -> Translation:
    """Rewrite a Run Engine document. Faults that only the dialect can see go to ``findings``."""
    ignore_unknown(value, (), findings, _ROOT_FIELDS)
    document: Fields = {"courante": 1, "id": value["id"] if "id" in value else slug(value.get("name"))}
    move(value, document, {name: name for name in ("name", "description", "input", "output", "policy", "changes")})
    copy_metadata(value, document, ("version",))
    if not isinstance(value["steps"], list):
        wrong_type(findings, ("steps",), "a list", value["steps"])
    if not isinstance(value.get("dependencies", {}), dict):
        wrong_type(findings, ("dependencies",), "an object", value["dependencies"])
    further = as_fields(value.get("dependencies"))
    nodes = [
        _node(as_fields(step), index, further, findings) if isinstance(step, dict) else step
        for index, step in enumerate(as_items(value["steps"]))
    ]
    ids = {name for node in nodes if isinstance(name := as_fields(node).get("id"), str)}
    for name in further.keys() - ids:
        findings.error(
            "unknown_node", f"there is no step {name!r}", ("dependencies", name), findings.suggest(name, ids)
        )
    document["nodes"] = nodes
    return Translation(document, origin_by("steps", _PLACES, {}))


def _node(step: Fields, index: int, further: Fields, findings: Findings) -> Fields:
    path: Path = ("steps", index)
    ignore_unknown(step, path, findings, _STEP_FIELDS)
    node: Fields = {}
    move(step, node, {"id": "id", "stepId": "id", "name": "name", "queue": "queue", "priority": "priority"})
    copy_metadata(step, node, ("description",))
    node["type"] = step.get("type", "function")
    config = dict(as_fields(step.get("config")))
    if not isinstance(step.get("config", {}), dict):
        wrong_type(findings, (*path, "config"), "an object", step["config"])
    skill = first_of(step, *_SKILLS)
    if skill is not None:
        config["handler"] = skill
    elif node["type"] == "function" and "handler" not in config:
        missing_field("skill", path, findings)
        config["handler"] = "missing"
    depends_on = [*as_items(first_of(step, *_DEPENDENCIES)), *as_items(further.get(str(node.get("id"))))]
    if depends_on:
        node["depends_on"] = depends_on
    if "inputSelector" in step:
        _put_selector(node, config, step["inputSelector"], (*path, "inputSelector"), findings)
    if config:
        node["config"] = config
    if "retryPolicy" in step:
        node["retry"] = _retry(step["retryPolicy"], (*path, "retryPolicy"), findings)
    _put_cache(node, step, path, findings)
    if "timeoutMs" in step:
        node["timeout"] = in_ms(step["timeoutMs"])
    if "requiresApproval" in step:
        node["requires_approval"] = step["requiresApproval"]
    return node


def _put_selector(node: Fields, config: Fields, selector: Json, path: Path, findings: Findings) -> None:
    if isinstance(selector, str) and selector.startswith(CALLABLE):
        if node["type"] == "function":
            config["input_selector"] = selector.removeprefix(CALLABLE)
        else:
            message = f"{quote(CALLABLE)} selects the input of a step with a skill, not of one of another type"
            hint = "write paths by field, or let a step with that skill come before"
            findings.error("conflicting_fields", message, path, hint)
    elif isinstance(selector, dict):
        fields = as_fields(selector)
        node["input"] = {
            name: dotted_to_cel(below) if isinstance(below, str) else below for name, below in fields.items()
        }
    else:
        node["input"] = dotted_to_cel(selector) if isinstance(selector, str) else selector


def _retry(policy: Json, path: Path, findings: Findings) -> Json:
    """``backoffMs`` doubles with every attempt, as the dialect says."""
    if not isinstance(policy, dict):
        return policy
    fields = as_fields(policy)
    ignore_unknown(fields, path, findings, _RETRY_FIELDS)
    retry: Fields = {}
    move(fields, retry, {"maxAttempts": "max_attempts", "factor": "factor"})
    if "backoffMs" in fields:
        retry["base"] = in_ms(fields["backoffMs"])
    if "maxBackoffMs" in fields:
        retry["max"] = in_ms(fields["maxBackoffMs"])
    return retry


def _put_cache(node: Fields, step: Fields, path: Path, findings: Findings) -> None:
    name = next((each for each in _CACHES if each in step), None)
    if name is None:
        return
    cache = step[name]
    if isinstance(cache, dict):
        fields = as_fields(cache)
        ignore_unknown(fields, (*path, name), findings, frozenset({"enabled", "scope", "ttlMs"}))
        cache = {"scope": fields.get("scope", "global")}
        if "ttlMs" in fields:
            cache["ttl"] = in_ms(fields["ttlMs"])
        if fields.get("enabled", True) is False:
            return
    elif cache is True:
        cache = "global"
    node["cache"] = cache
