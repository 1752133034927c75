"""What a restarted run's log tells of values: what releases brought, early signals, what living tokens said. Pure."""

from __future__ import annotations

import msgspec

from ..events import ErrorInfo, Facts
from ..marking.marking import Marking
from ..marking.plan import Plan
from ..marking.scopes import NODE_NAMES, Scope, scope_key

At = tuple[int, Scope]


def facts_at(plan: Plan, kind: str, at: At, data: dict[str, object], attempt: int = 0) -> Facts:
    """What is empty is left out."""
    node = plan.node_ids[at[0]] if at[0] >= 0 else NODE_NAMES[at[0]]
    said = {name: value for name, value in data.items() if value}
    return Facts(type=kind, node=node, scope=scope_key(at[1]), attempt=attempt, data=said)


def told_values(plan: Plan, marking: Marking) -> list[tuple[Facts, bytes | None]]:
    found: list[tuple[Facts, bytes | None]] = []
    found += [(facts_at(plan, "value.restored", at, {}), value) for at, value in marking.values.items()]
    said = [(at, marking.outputs[at]) for at in marking.tokens if at in marking.outputs]
    found += [(facts_at(plan, "value.restored", at, {"output": True}), value) for at, value in said]
    ended = [at for at in marking.tokens if at in marking.errors or at in marking.statuses]
    found += [(_ended(plan, marking, at), None) for at in ended]
    for name, some in marking.signals.items():
        data = [{"name": name, "number": number} for number, _ in some]
        found += [
            (Facts(type="value.restored", data=dict(one)), value) for one, (_, value) in zip(data, some, strict=True)
        ]
    return found


def error_at(marking: Marking, at: At) -> ErrorInfo | None:
    error = marking.errors.get(at)
    return None if error is None else msgspec.json.decode(error, type=ErrorInfo)


def _ended(plan: Plan, marking: Marking, at: At) -> Facts:
    """How a step has ended whose effects go on: its token lives, so that it is not told as one that is settled."""
    error = error_at(marking, at)
    status = marking.statuses.get(at, b"" if error is None else b"FAILED").decode()
    return msgspec.structs.replace(facts_at(plan, "value.restored", at, {"ended": status}), error=error)
