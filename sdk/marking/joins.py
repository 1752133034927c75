"""Joins: when the policy of one is met (token-rules, section 3). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...compiler.workflow import JoinPolicy


@dataclass(slots=True)
class JoinRecord:
    """Arrivals of one join in one scope. ``slots``: in-edges, dead ones for ``all``, live ones for ``any``."""

    live: int = 0
    dead: int = 0
    failed: int = 0
    is_settled: bool = False
    told: str = ""
    slots: list[int] = field(default_factory=lambda: [])


def fires(policy: JoinPolicy | None, need: int, arity: int, record: JoinRecord) -> str:
    """Return which in-edges came, if the join's policy is met now, else nothing.

    ``*``: all of them; ``-1,2``: all but these slots; ``+0,3``: only these, in order of arrival.
    """
    slots = ",".join(map(str, record.slots))
    if record.told:
        return "*" if record.told == "x" and record.live == 1 else ""
    if policy is JoinPolicy.ALL:
        if record.live + record.dead == arity and record.live and not record.failed:
            return f"-{slots}" if slots else "*"
    elif policy is JoinPolicy.EVERY:
        return "*" if record.live == arity else ""
    elif record.live == need:
        return f"+{slots}"
    return ""
