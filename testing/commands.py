"""What a floor is told from outside: the start of a run, and commands, with the events that they leave."""

from __future__ import annotations

import msgspec

from ..sdk.events import Facts, RecordedEvent, encode_blob, encode_facts
from ..sdk.floor.calling import Word
from ..sdk.floor.commanding import ASKED, RAISE
from ..sdk.floor.scripts import Applied
from ..sdk.marking.plan import START_KEY, WITHDRAWN_READY, Plan, start_ready
from ..sdk.marking.scopes import parse_token_key, scope_key

SCRIPT_KINDS = {"force_succeed": "force", "force_skip": "force", "cancel_step": "withdraw", "raise_budget": "budget"}
ALONE = frozenset({"cancel", "pause", "resume", "raise_budget"})
"""Commands that are about the run and nothing in it."""


def start_words(plan: Plan, run_id: str, given: bytes, start_ms: int = 0) -> list[Word]:
    """Return what ``start_runs`` is told of one run."""
    operations: list[str] = list(plan.start_words)
    if start_ms:
        operations = [*plan.bound(), "P", START_KEY, str(start_ms), start_ready(0), *plan.deadline()]
    facts = Facts(type="run.started", due=start_ms, data={"held": True} if start_ms else {})
    return [run_id, plan.hash, given, 1, encode_blob([(encode_facts(facts), given)]), len(operations), *operations]


def command_of(
    plan: Plan, run_id: str, number: int, kind: str, *, key: str = "", name: str = "", value: object = None
) -> Applied:
    """Return a command as ``apply_commands`` takes it, with its event."""
    facts = Facts(type="command.applied", data={"number": number, "type": kind, "by": "sim"})
    script_kind = SCRIPT_KINDS.get(kind, kind if kind in ALONE else "signal")
    content = msgspec.json.encode(value)
    if kind == RAISE:
        tokens, cost = map(int, name.split("."))
        facts = msgspec.structs.replace(facts, data={**facts.data, "tokens": tokens, "cost": cost})
    if script_kind == "signal":
        asked = {"asked": True} if kind == "child_ended" else {}
        facts = msgspec.structs.replace(facts, data={**facts.data, "name": name, **asked})
    key = "" if kind in ALONE or kind == "signal" else key
    if key:
        node, scope = parse_token_key(key)
        if node >= 0:
            facts = msgspec.structs.replace(facts, node=plan.node_ids[node], scope=scope_key(scope))
    return Applied(
        run_id=run_id,
        number=number,
        kind=script_kind,
        reason="cancelled" if kind == "cancel" else ASKED if kind == "child_ended" else "",
        token=key,
        name=name,
        value=WITHDRAWN_READY if script_kind == "withdraw" else content,
        closes=plan.closes,
        events=1,
        blob=encode_blob([(encode_facts(facts), content)]),
    )


def shown(event: RecordedEvent) -> str:
    """An event in a trace."""
    facts = event.facts
    words = [str(event.seq), facts.type, facts.node, facts.scope, facts.reason, facts.edges]
    return " ".join(word for word in words if word)
