"""The smallest values that fit a JSON Schema, as far as that can be told from it: what the provider echo answers. Pure.

Not tried: ``pattern``, ``format`` and conditions. What comes out is checked like the answer of any other model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

DEPTH_MAX = 32
ITEMS_MAX = 100
CHARS_MAX = 10_000


def smallest_value(schema: object, said: str = "") -> Any:
    """Return a value for a schema. said: the text that strings hold where their length allows it."""
    return _value(schema, schema, said, 0)


def _value(schema: object, whole: object, said: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return said if schema is True else None
    rules = cast("dict[str, Any]", schema)
    if "$ref" in rules:
        return _value(_referred(rules["$ref"], whole), whole, said, depth + 1)
    if "const" in rules:
        return rules["const"]
    for name in ("enum", "examples"):
        if isinstance(rules.get(name), list) and rules[name]:
            return rules[name][0]
    if "default" in rules:
        return rules["default"]
    for name in ("anyOf", "oneOf"):
        if isinstance(rules.get(name), list) and rules[name]:
            return _value({**_without(rules, name), **_fields(rules[name][0])}, whole, said, depth + 1)
    if isinstance(rules.get("allOf"), list):
        merged = _without(rules, "allOf")
        for part in rules["allOf"]:
            found = _fields(_referred(part["$ref"], whole) if "$ref" in _fields(part) else part)
            below = {**_fields(merged.get("properties")), **_fields(found.get("properties"))}
            required = [*merged.get("required", []), *found.get("required", [])]
            merged = {**merged, **found, **({"properties": below, "required": required} if below else {})}
        return _value(merged, whole, said, depth + 1)
    return _typed(_type_of(rules), rules, whole, said, depth)


def _type_of(rules: Mapping[str, Any]) -> str:
    kind = rules.get("type")
    if isinstance(kind, list) and kind:
        return str(cast("list[object]", kind)[0])
    if isinstance(kind, str):
        return kind
    if "properties" in rules or "required" in rules:
        return "object"
    return "array" if "items" in rules or "minItems" in rules else "string"


def _typed(kind: str, rules: Mapping[str, Any], whole: object, said: str, depth: int) -> Any:
    if kind == "object":
        below = _fields(rules.get("properties"))
        names = dict.fromkeys([*below, *rules.get("required", [])])
        return {name: _value(below.get(name, True), whole, said, depth + 1) for name in names}
    if kind == "array":
        count = min(max(rules.get("minItems", 1), 0), ITEMS_MAX)
        count = min(count, rules.get("maxItems", count))
        return [_value(rules.get("items", True), whole, said, depth + 1) for _ in range(count)]
    if kind in ("integer", "number"):
        return _number(rules, is_whole=kind == "integer")
    if kind == "boolean":
        return True
    return None if kind == "null" else _text(rules, said)


def _number(rules: Mapping[str, Any], *, is_whole: bool) -> int | float:
    low: float | None = rules.get("minimum", rules.get("exclusiveMinimum"))
    high: float | None = rules.get("maximum", rules.get("exclusiveMaximum"))
    step: float = rules.get("multipleOf", 1)
    if low is None:
        return 0 if high is None else min(0, math.floor(high / step) * step - ("exclusiveMaximum" in rules) * step)
    value = math.ceil(low / step) * step
    value = value + step if "exclusiveMinimum" in rules and value <= low else value
    return (low + high) / 2 if high is not None and not is_whole and value > high else value


def _text(rules: Mapping[str, Any], said: str) -> str:
    text = said or "echo"
    low = min(rules.get("minLength", 0), CHARS_MAX)
    while len(text) < low:
        text += text
    most = rules.get("maxLength", CHARS_MAX)
    return text[: max(low, 0)] if len(text) > most >= low and low else text[:most]


def _referred(reference: object, whole: object) -> object:
    """The place in the schema itself that a reference leads to."""
    found = whole
    for step in str(reference).removeprefix("#").split("/")[1:]:
        found = _fields(found).get(step.replace("~1", "/").replace("~0", "~"))
    return found


def _fields(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _without(rules: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: below for key, below in rules.items() if key != name}
