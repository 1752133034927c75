"""Maps in a document: the configs of ``map`` and ``aggregate``.

A map runs its body once per item of ``items`` (CEL; left out: the node's input), a list or an object; at most
``max_concurrency`` of them at a time, in batches of ``batch_size``; ``more`` names a signal that adds items while it
runs. Its aggregate says what a failed item means (``policy``) and what comes of the results: their list, or ``merge``,
``group`` or ``reduce``.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, cast

from .diagnostics import Path
from .durations import format_duration
from .findings import Findings, quote
from .reading import (
    SIGNAL_PATTERN,
    read_boolean,
    read_choice,
    read_duration,
    read_expression,
    read_fields,
    read_integer,
    read_pattern,
    with_extensions,
)
from .workflow import Json

Config = dict[str, Json]

ITEMS_MAX = 100_000
"""Items of one map."""
WINDOW_DEFAULT = 1_000
"""Items at work at a time where the document says nothing: what a map holds in memory does not grow with its items."""
WINDOW_MAX = 100_000
BATCH_MAX = 10_000
POLICIES = ("all", "fail_fast", "collect")
SHAPES = ("merge", "group", "reduce")
PERCENT_PATTERN = r"^[0-9]{1,3}([.][0-9]{1,6})?%$"


def read_map(config: Config, path: Path, findings: Findings) -> Config:
    made = with_extensions(config, read_fields(config, path, findings, _MAP_READERS))
    if "more" in made and made.get("batch_size", 1) > 1:
        message = "'more' and 'batch_size' exclude each other"
        findings.error("conflicting_fields", message, (*path, "batch_size"), "send the items of a batch as one item")
    return made


def read_aggregate(config: Config, path: Path, findings: Findings) -> Config:
    made = with_extensions(config, read_fields(config, path, findings, _AGGREGATE_READERS))
    shapes = [name for name in SHAPES if made.get(name) not in (None, False)]
    if len(shapes) > 1:
        message = f"{shapes[0]!r} and {shapes[1]!r} exclude each other"
        findings.error("conflicting_fields", message, (*path, shapes[1]), "leave one of them out")
    if "initial" in made and "reduce" not in made:
        findings.error("conflicting_fields", "'initial' is where 'reduce' begins", (*path, "initial"), "add 'reduce'")
    return made


def tolerated(policy: Json, count: int) -> int:
    """Return how many of ``count`` items may fail. policy: of an aggregate, as ``read_aggregate`` gives it."""
    if isinstance(policy, dict):
        allowed = cast("dict[str, Any]", policy)["tolerate"]
        if isinstance(allowed, str):
            return int(Fraction(allowed.removesuffix("%")) * count / 100)
        return int(allowed)
    return count if policy == "collect" else 0


def _window(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=1, high=WINDOW_MAX)


def _batch(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=1, high=BATCH_MAX)


def _more(value: Json, path: Path, findings: Findings) -> Config:
    made = read_fields(value, path, findings, _MORE_READERS, ("signal",))
    written: Config = {"signal": made.get("signal", "")}
    return {**written, "expires": format_duration(made["expires"])} if "expires" in made else written


def _name(value: Json, path: Path, findings: Findings) -> str:
    return read_pattern(value, path, findings, SIGNAL_PATTERN, "bad_name")


def _time(value: Json, path: Path, findings: Findings) -> int:
    return read_duration(value, path, findings, low_ms=1)


def _policy(value: Json, path: Path, findings: Findings) -> Json:
    if isinstance(value, dict):
        return read_fields(cast("Config", value), path, findings, {"tolerate": _tolerate}, ("tolerate",))
    return read_choice(value, path, findings, POLICIES, "all")


def _tolerate(value: Json, path: Path, findings: Findings) -> int | str:
    if not isinstance(value, str):
        return read_integer(value, path, findings, low=0, high=ITEMS_MAX)
    if re.fullmatch(PERCENT_PATTERN, value) is None or float(value.removesuffix("%")) > 100:
        message = f"tolerate can not be {quote(value)}"
        findings.error("out_of_range", message, path, "write a number of items, or a share like '5%'")
        return 0
    return value


def _anything(value: Json, _path: Path, _findings: Findings) -> Json:
    return value


_MORE_READERS = {"signal": _name, "expires": _time}
_MAP_READERS = {"items": read_expression, "max_concurrency": _window, "batch_size": _batch, "more": _more}
_AGGREGATE_READERS = {
    "policy": _policy,
    "merge": read_boolean,
    "group": read_expression,
    "reduce": read_expression,
    "initial": _anything,
}
