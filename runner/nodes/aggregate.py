"""``aggregate``: what comes of the results of a map's items, and whether too many of them have failed.

Without more said the output is the list of what the items came to, in their order: the output of one that went well,
``null`` for one that was skipped, ``{"error": ...}`` for one that failed. ``merge``, ``group`` and ``reduce`` look at
the outputs of those that went well.
"""

from __future__ import annotations

from typing import Any, cast

from ...compiler.cel import Expression
from ...compiler.maps import tolerated
from ...sdk.item_values import ItemResult
from ...sdk.maps import Counts
from ...sdk.outcomes import Outcome, Succeeded
from ...sdk.step_context import StepError, decode_json, encode_json
from ..work import Work
from .config import render_config


def run_aggregate(work: Work) -> Outcome:
    counts = Counts.read(work.live)
    allowed = tolerated(work.node.config.get("policy", "all"), counts.items)
    if counts.failed > allowed:
        raise StepError("ITEMS_FAILED", _failure(work, counts, allowed))
    config = work.node.config
    if config.get("merge"):
        return Succeeded(encode_json(_merge(work.results or [])))
    assert work.code is not None
    for name, shape in (("group", _group), ("reduce", _reduce)):
        expression = work.code.config.get(name)
        if isinstance(expression, Expression):
            return Succeeded(encode_json(shape(work, expression)))
    return Succeeded(b"[" + b",".join(map(_shown, work.results or [])) + b"]")


def _failure(work: Work, counts: Counts, allowed: int) -> str:
    first = next((decode_json(bytes(result.value)) for result in work.results or [] if result.status == "f"), None)
    why = f": {first['type']}: {first['message']}" if isinstance(first, dict) else ""
    return f"{counts.failed} of {counts.items} items failed, and at most {allowed} may{why}"


def _shown(result: ItemResult) -> bytes:
    return b'{"error":' + bytes(result.value) + b"}" if result.status == "f" else bytes(result.value)


def _outputs(results: list[ItemResult]) -> list[tuple[int, Any]]:
    return [(at, decode_json(bytes(result.value))) for at, result in enumerate(results) if result.status == "o"]


def _merge(results: list[ItemResult]) -> dict[str, Any]:
    """One object of all fields; of two with one name the later item's."""
    merged: dict[str, Any] = {}
    for index, output in _outputs(results):
        if not isinstance(output, dict):
            raise StepError("RESULT_INVALID", f"'merge' takes objects; item {index} gives {type(output).__name__}")
        merged.update(cast("dict[str, Any]", output))
    return merged


def _group(work: Work, key: Expression) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    context = work.context()
    for context["index"], context["item"] in _outputs(work.results or []):
        found = work.evaluate(key)
        if isinstance(found, (dict, list)):
            raise StepError("EXPRESSION_ERROR", f"'group' gives a text, a number or a boolean (in {key.source!r})")
        name = found if isinstance(found, str) else encode_json(found).decode()
        groups.setdefault(name, []).append(context["item"])
    return groups


def _reduce(work: Work, expression: Expression) -> Any:
    context = work.context()
    context["acc"] = render_config(work).get("initial")
    for context["index"], context["item"] in _outputs(work.results or []):
        context["acc"] = work.evaluate(expression)
    return context["acc"]
