"""Aggregates: what comes of the results of a map's items, or of the outputs of several nodes. Pure.

Of a map it also says whether too many items have failed.

Without more said the output is the list of what the items came to, in their order: the output of one that went well,
``null`` for one that was skipped, ``{"error": ...}`` for one that failed. ``merge``, ``group`` and ``reduce`` look at
the outputs of those that went well. Of no map, the results are the outputs of the predecessors that arrived live, and
the output is an object of them by id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias, cast

from msgspec import Raw
from msgspec.json import encode

from ...compiler.cel import Expression
from ...compiler.maps import tolerated
from ...compiler.reading import kind_of
from ..marking.maps import Counts
from .item_values import ItemResult, ItemResults
from .step_config import render_config
from .step_context import StepContext, StepError, decode_json, encode_json

Outputs: TypeAlias = Iterable[tuple[int, Any]]
"""Places of items or predecessors, and what they gave."""


def aggregate_items(step: StepContext, results: ItemResults) -> bytes:
    """Return what comes of the results of a map's items. Raises StepError."""
    counts = Counts.read(step.live)
    allowed = tolerated(step.node.config.get("policy", "all"), counts.items)
    if counts.failed > allowed:
        raise StepError("ITEMS_FAILED", _failure(step, results, counts, allowed))
    outputs = ((at, decode_json(bytes(result.value))) for at, result in enumerate(results) if result.status == "o")
    made = _shape(step, outputs)
    if made is not None:
        return made
    return b"[" + b",".join(b",".join(map(_shown, part)) for part in results.parts() if part) + b"]"


def aggregate_predecessors(step: StepContext) -> bytes:
    """Return what comes of the outputs of the predecessors that arrived live. Raises StepError."""
    places = {name: place for place, (name, _) in enumerate(step.node.sources)}
    found = step.live_inputs()
    made = _shape(step, ((places.get(name, 0), decode_json(value)) for name, value in found))
    return encode({name: Raw(value) for name, value in found}) if made is None else made


def _shape(step: StepContext, outputs: Outputs) -> bytes | None:
    """Return what the config makes of the outputs; None where it says nothing."""
    if step.node.config.get("merge"):
        return encode_json(_merge(step, outputs))
    assert step.code is not None
    for name, shape in (("group", _group), ("reduce", _reduce)):
        expression = step.code.config.get(name)
        if isinstance(expression, Expression):
            return encode_json(shape(step, outputs, expression))
    return None


def _failure(step: StepContext, results: ItemResults, counts: Counts, allowed: int) -> str:
    text = f"{counts.failed} of {counts.items} items failed, and at most {allowed} may"
    found = results.first_failed()
    if found is None:
        return text
    index, content = found
    error: dict[str, Any] = decode_json(content)
    over = step.plan.ir.nodes[step.plan.maps.region(step.number).node]
    return f"{text}: {over.id}[{index}]: {error['type']}: {error['message']}"


def _shown(result: ItemResult) -> bytes:
    return b'{"error":' + bytes(result.value) + b"}" if result.status == "f" else bytes(result.value)


def _merge(step: StepContext, outputs: Outputs) -> dict[str, Any]:
    """One object of all fields; of two with one name the later one's."""
    merged: dict[str, Any] = {}
    for index, output in outputs:
        if not isinstance(output, dict):
            who = f"item {index}" if step.node.is_aggregate else repr(step.node.sources[index][0])
            raise StepError("RESULT_INVALID", f"'merge' takes objects; {who} gives {kind_of(output)}")
        merged.update(cast("dict[str, Any]", output))
    return merged


def _group(step: StepContext, outputs: Outputs, key: Expression) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    context = step.context()
    for context["index"], context["item"] in outputs:
        found = step.evaluate(key)
        if isinstance(found, (dict, list)):
            raise StepError("EXPRESSION_ERROR", f"'group' gives a text, a number or a boolean (in {key.source!r})")
        name = found if isinstance(found, str) else encode_json(found).decode()
        groups.setdefault(name, []).append(context["item"])
    return groups


def _reduce(step: StepContext, outputs: Outputs, expression: Expression) -> Any:
    context = step.context()
    context["acc"] = render_config(step).get("initial")
    for context["index"], context["item"] in outputs:
        context["acc"] = step.evaluate(expression)
    return context["acc"]
