"""``map``: says which items its body runs over (CEL ``items``; without it the node's input).

With ``more`` its token stays, and each signal of that name adds items: ``{"items": [...], "is_last": true}``, a list,
or any other value as one item. It is done with the last ones, or when the time to wait is over.
"""

from __future__ import annotations

from typing import Any, cast

from ...compiler.durations import parse_duration
from ...compiler.maps import ITEMS_MAX
from ...sdk.item_values import as_items
from ...sdk.outcomes import Opened, Outcome
from ...sdk.step_context import decode_json, encode_json
from ..work import Work


def run_map(work: Work) -> Outcome:
    more = cast("dict[str, str] | None", work.node.config.get("more"))
    if work.own_output is not None:
        return _more(work, more or {})
    assert work.code is not None
    source = work.code.config.get("items")
    value = decode_json(work.input_bytes()) if source is None or isinstance(source, dict) else work.evaluate(source)
    output, count = as_items(value, work.plan.maps.region(work.number).batch)
    return Opened(output, count, more=_wait(more) if more is not None else None)


def forced_items(work: Work, output: bytes) -> Outcome:
    """Somebody has said which items there are."""
    if work.own_output is not None:
        return _more(work, {})
    found, count = as_items(decode_json(output), work.plan.maps.region(work.number).batch)
    return Opened(found, count)


def _wait(more: dict[str, str]) -> tuple[str, int | None]:
    return more["signal"], parse_duration(more["expires"]) if "expires" in more else None


def _more(work: Work, more: dict[str, str]) -> Outcome:
    known = decode_json(work.own_output or b"[]")
    added, is_last = _added(work)
    room = ITEMS_MAX - len(known)
    output = encode_json([*known, *added[:room]])
    count = len(known) + len(added[:room])
    return Opened(output, count, more=None if is_last or not more else _wait(more), refused=max(0, len(added) - room))


def _added(work: Work) -> tuple[list[Any], bool]:
    """What the signal brings, and whether it is the last one; any other word closes the door."""
    if not work.has_value or not work.word.startswith("s"):
        return [], True
    value = work.released_value
    if isinstance(value, dict) and isinstance(cast("dict[str, Any]", value).get("items"), list):
        fields = cast("dict[str, Any]", value)
        return fields["items"], fields.get("is_last") is True
    return (cast("list[Any]", value), False) if isinstance(value, list) else ([value], False)
