"""``retry_policy`` of the dialects -> ``retry`` and ``max_retries``.

Its shape was never fixed: attempts or retries, and waiting times in ms, are understood. ``max_attempts`` counts every
try; ``max_retries`` does not count the first.
"""

from __future__ import annotations

from ..diagnostics import Path
from ..findings import Findings
from ..reading import wrong_type
from ..workflow import Json
from .translation import Fields, as_fields, ignore_unknown, in_ms, move

_SAME = {
    "max_attempts": "max_attempts", "factor": "factor", "multiplier": "factor", "jitter": "jitter", "on": "on",
    "base": "base", "max": "max",
}  # fmt: skip
_MS = {"backoff_ms": "base", "base_ms": "base", "max_ms": "max", "max_backoff_ms": "max"}
_COUNTS = ("max_attempts", "max_retries")


def put_retry(node: Fields, policy: Json, path: Path, findings: Findings, *, is_own: bool, lenient: bool) -> None:
    """Add to ``node`` what a policy says. ``is_own``: else it is shared, and a count of the node's own goes before it.

    ``lenient``: unknown fields are left out with a warning.
    """
    if not isinstance(policy, dict):
        wrong_type(findings, path, "an object", policy)
        return
    fields = as_fields(policy)
    ignore_unknown(fields, path, findings, frozenset({*_SAME, *_MS, *_COUNTS}), lenient=lenient)
    if not is_own and "max_retries" in node:
        fields = {name: below for name, below in fields.items() if name not in _COUNTS}
    retry: Fields = {}
    move(fields, retry, _SAME)
    retry.update({new: in_ms(fields[name]) for name, new in _MS.items() if name in fields})
    if retry:
        node["retry"] = retry
    if "max_retries" in fields:
        node["max_retries"] = fields["max_retries"]
