"""Milestone 4's dialect: ``steps:`` that run one after another, of the types llm, tool and transform -> native.

The names of ``inputMapping`` are variables of the step's templates: ``{{query}}`` is replaced by what ``query`` is
mapped to, so the template says where its value comes from. The mapping is also the input of the node.
The reserved names (``input``, ``steps``, ``inputs``, ``outputs`` ...) are never variables.
"""

from __future__ import annotations

from functools import partial

from ..diagnostics import Path
from ..findings import Findings, quote
from ..reading import read_expression, wrong_type
from ..workflow import Json
from .paths import ROOTS, dotted_to_cel, rewrite_templates, with_variables
from .retry_policy import put_retry
from .translation import (
    Fields,
    Translation,
    as_fields,
    as_items,
    copy_metadata,
    ignore_unknown,
    move,
    origin_by,
    slug,
)

_ROOT_FIELDS = frozenset(
    {"id", "slug", "name", "description", "version", "steps", "input", "output", "policy", "changes", "metadata"}
)
_CONFIG = {
    "provider": "provider", "model": "model", "promptSystem": "system", "promptUser": "prompt",
    "outputSchema": "schema", "temperature": "temperature", "maxTokens": "max_tokens", "toolName": "tool",
}  # fmt: skip
_COMMON = ("id", "name", "type", "when", "retry", "max_retries", "timeout", "cache", "queue", "requires_approval")
_STEP_FIELDS = frozenset({*_CONFIG, *_COMMON, "config", "inputMapping", "retry_policy", "description", "metadata"})
_PLACES: dict[Path, Path] = {
    **{("config", new): (old,) for old, new in _CONFIG.items()},
    ("input",): ("inputMapping",),
    ("depends_on",): (),
    ("retry",): ("retry_policy",),
}


def translate_sequence(value: Fields, findings: Findings) -> Translation:
    """Rewrite a Milestone 4 document. Faults that only the dialect can see go to ``findings``."""
    ignore_unknown(value, (), findings, _ROOT_FIELDS)
    name = value.get("slug", value.get("id", value.get("name")))
    document: Fields = {"courante": 1, "id": slug(name)}
    move(value, document, {name: name for name in ("name", "description", "input", "output", "policy", "changes")})
    copy_metadata(value, document, ("version",))
    if not isinstance(value["steps"], list):
        wrong_type(findings, ("steps",), "a list", value["steps"])
    nodes: list[Json] = []
    before: Json = None
    for index, step in enumerate(as_items(value["steps"])):
        if not isinstance(step, dict):
            nodes.append(step)
            continue
        node = _node(as_fields(step), index, findings)
        if before is not None:
            node["depends_on"] = [before]
        before = node.get("id", before)
        nodes.append(node)
    document["nodes"] = nodes
    return Translation(document, origin_by("steps", _PLACES, {}))


def _node(step: Fields, index: int, findings: Findings) -> Fields:
    path: Path = ("steps", index)
    ignore_unknown(step, path, findings, _STEP_FIELDS)
    node: Fields = {name: step[name] for name in _COMMON if name in step}
    node.setdefault("type", "tool" if "toolName" in step else "llm" if "promptUser" in step else "transform")
    copy_metadata(step, node, ("description",))
    if "retry_policy" in step and "retry" not in step:
        put_retry(node, step["retry_policy"], (*path, "retry_policy"), findings, is_own=True, lenient=False)
    variables: dict[str, str] = {}
    if "inputMapping" in step:
        node["input"] = _mapping(step["inputMapping"], (*path, "inputMapping"), variables, findings)
    config = dict(as_fields(step.get("config")))
    if not isinstance(step.get("config", {}), dict):
        wrong_type(findings, (*path, "config"), "an object", step["config"])
    move(step, config, _CONFIG)
    rewrite = partial(with_variables, variables=variables)
    for name in ("system", "prompt"):
        if name in config:
            config[name] = rewrite_templates(config[name], rewrite)
    if config:
        node["config"] = config
    return node


def _mapping(value: Json, path: Path, variables: dict[str, str], findings: Findings) -> Json:
    """The input of the node; fills ``variables``. Literals stand for themselves."""
    if not isinstance(value, dict):
        wrong_type(findings, path, "an object", value)
        return {}
    mapping: Fields = {}
    for name, below in as_fields(value).items():
        mapping[name] = dotted_to_cel(below) if isinstance(below, str) else below
        if name in ROOTS:
            told = f"{quote(name)} is a reserved name; in templates it does not mean the mapped value"
            findings.warning("reserved_variable", told, (*path, name), "choose another name")
        elif isinstance(mapping[name], (str, int, float, bool)):
            variables[name] = read_expression(mapping[name], (*path, name), Findings())
    return mapping
