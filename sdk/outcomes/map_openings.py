"""Map openings: which items the body of a map runs over (CEL ``items``; without it the node's input). Pure.

With ``more`` its token stays, and each signal of that name adds items: ``{"items": [...], "is_last": true}``, a list,
or any other value as one item. It is done with the last ones, or when the time to wait is over. The list is written
anew each time, and so what has come while that was done is taken at once. The replay asks the same of what the log
says.
"""

from __future__ import annotations

from typing import Any, cast

from ...compiler.durations import parse_duration
from ...compiler.maps import ITEMS_MAX
from .item_values import as_items
from .outcomes import Opened
from .step_context import StepContext, decode_json, encode_json


def open_map(step: StepContext) -> Opened:
    """Return the items at first, more of them, or the last. Raises StepError."""
    more = cast("dict[str, str] | None", step.node.config.get("more"))
    if step.own_output is not None:
        return _more(step, more or {})
    assert step.code is not None
    source = step.code.config.get("items")
    value = decode_json(step.input_bytes()) if source is None or isinstance(source, dict) else step.evaluate(source)
    output, count = as_items(value, step.plan.maps.region(step.number).batch)
    return Opened(output, count, more=_wait(more) if more is not None else None)


def forced_items(step: StepContext, output: bytes) -> Opened:
    """Somebody has said which items there are."""
    if step.own_output is not None:
        return _more(step, {})
    found, count = as_items(decode_json(output), step.plan.maps.region(step.number).batch)
    return Opened(found, count)


def _wait(more: dict[str, str]) -> tuple[str, int | None]:
    return more["signal"], parse_duration(more["expires"]) if "expires" in more else None


def _more(step: StepContext, more: dict[str, str]) -> Opened:
    """The items that its signal brings, and those of others that have come since, up to the last one."""
    known = decode_json(step.own_output or b"[]")
    added, is_last = _added(step)
    early = 0
    for value in () if is_last else step.early_values:
        some, is_last = _items_in(value)
        added += some
        early += 1
        if is_last:
            break
    room = ITEMS_MAX - len(known)
    output = encode_json([*known, *added[:room]])
    count = len(known) + len(added[:room])
    waits = None if is_last or not more else _wait(more)
    return Opened(output, count, more=waits, refused=max(0, len(added) - room), early=early)


def _added(step: StepContext) -> tuple[list[Any], bool]:
    """What the signal brings, and whether it is the last one; any other word closes the door."""
    if not step.has_value or not step.word.startswith("s"):
        return [], True
    return _items_in(step.released_value)


def _items_in(value: object) -> tuple[list[Any], bool]:
    if isinstance(value, dict) and isinstance(cast("dict[str, Any]", value).get("items"), list):
        fields = cast("dict[str, Any]", value)
        return fields["items"], fields.get("is_last") is True
    return (cast("list[Any]", value), False) if isinstance(value, list) else ([value], False)
