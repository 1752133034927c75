"""``aggregate``: what comes of the results of a map's items, or of the outputs of several nodes.

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
from ...sdk.item_values import ItemResult
from ...sdk.maps import Counts
from ...sdk.outcomes import Outcome, Succeeded
from ...sdk.step_context import StepError, decode_json, encode_json
from ..work import Work
from .config import render_config

Outputs: TypeAlias = Iterable[tuple[int, Any]]
"""Places of items or predecessors, and what they gave."""


def run_aggregate(work: Work) -> Outcome:
    return _of_map(work) if work.node.is_aggregate else _of_predecessors(work)


def _of_map(work: Work) -> Outcome:
    counts = Counts.read(work.live)
    allowed = tolerated(work.node.config.get("policy", "all"), counts.items)
    if counts.failed > allowed:
        raise StepError("ITEMS_FAILED", _failure(work, counts, allowed))
    results = work.results or []
    outputs = ((at, decode_json(bytes(result.value))) for at, result in enumerate(results) if result.status == "o")
    made = _shape(work, outputs)
    return Succeeded(b"[" + b",".join(map(_shown, results)) + b"]" if made is None else made)


def _of_predecessors(work: Work) -> Outcome:
    places = {name: place for place, (name, _) in enumerate(work.node.sources)}
    found = work.live_inputs()
    made = _shape(work, ((places.get(name, 0), decode_json(value)) for name, value in found))
    return Succeeded(encode({name: Raw(value) for name, value in found}) if made is None else made)


def _shape(work: Work, outputs: Outputs) -> bytes | None:
    """Return what the config makes of the outputs; None where it says nothing."""
    if work.node.config.get("merge"):
        return encode_json(_merge(work, outputs))
    assert work.code is not None
    for name, shape in (("group", _group), ("reduce", _reduce)):
        expression = work.code.config.get(name)
        if isinstance(expression, Expression):
            return encode_json(shape(work, outputs, expression))
    return None


def _failure(work: Work, counts: Counts, allowed: int) -> str:
    first = next((decode_json(bytes(result.value)) for result in work.results or [] if result.status == "f"), None)
    why = f": {first['type']}: {first['message']}" if isinstance(first, dict) else ""
    return f"{counts.failed} of {counts.items} items failed, and at most {allowed} may{why}"


def _shown(result: ItemResult) -> bytes:
    return b'{"error":' + bytes(result.value) + b"}" if result.status == "f" else bytes(result.value)


def _merge(work: Work, outputs: Outputs) -> dict[str, Any]:
    """One object of all fields; of two with one name the later one's."""
    merged: dict[str, Any] = {}
    for index, output in outputs:
        if not isinstance(output, dict):
            who = f"item {index}" if work.node.is_aggregate else repr(work.node.sources[index][0])
            raise StepError("RESULT_INVALID", f"'merge' takes objects; {who} gives {type(output).__name__}")
        merged.update(cast("dict[str, Any]", output))
    return merged


def _group(work: Work, outputs: Outputs, key: Expression) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    context = work.context()
    for context["index"], context["item"] in outputs:
        found = work.evaluate(key)
        if isinstance(found, (dict, list)):
            raise StepError("EXPRESSION_ERROR", f"'group' gives a text, a number or a boolean (in {key.source!r})")
        name = found if isinstance(found, str) else encode_json(found).decode()
        groups.setdefault(name, []).append(context["item"])
    return groups


def _reduce(work: Work, outputs: Outputs, expression: Expression) -> Any:
    context = work.context()
    context["acc"] = render_config(work).get("initial")
    for context["index"], context["item"] in outputs:
        context["acc"] = work.evaluate(expression)
    return context["acc"]
