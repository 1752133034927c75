"""Commanding: what puts a numbered command into its run. Used by whoever applies one: client, reconciler.

Everything follows from the command's row and the run's IR, so that it does not matter who applies it. A script applies
only the next number of a run: what comes twice does nothing, and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..events import Facts, encode_blob, encode_facts
from ..json_values import encode_value
from ..keys import Keys, PartitionKeys
from ..marking.plan import WITHDRAWN_READY, Plan
from ..marking.scopes import parse_scope_key, token_key
from ..sealing.payload_terms import PAYLOAD_TERMS
from ..signal_names import approval_name, child_name, outside_name
from ..stores.command_bodies import Body, decode_body, open_body
from ..stores.commands import Command
from .calling import Connection
from .payloads import store_payload
from .scripts import Applied, apply_commands

COMMANDS_MAX = 100
"""Commands that one call applies."""
GAP = "G"
RAISE = "raise_budget"
ASKED = "asked"
"""What the script is told of a signal that its token waited for when it was given."""
_KINDS = {
    "cancel": "cancel",
    "signal": "signal",
    "approve": "signal",
    "reject": "signal",
    "complete": "signal",
    "fail": "signal",
    "child_ended": "signal",
    "force_succeed": "force",
    "force_skip": "force",
    "cancel_step": "withdraw",
    "pause": "pause",
    "resume": "resume",
    "raise_budget": "budget",
}
"""What the script calls it (lua/apply_commands.lua), by the type of the command."""


def token_of(plan: Plan, body: Body) -> str:
    """Return the key of the token that a command is about. Raises ValueError where the IR has no such node."""
    return token_key(plan.node_ids.index(body.step), parse_scope_key(body.scope))


async def apply_in_order(
    redis: Connection,
    keys: Keys,
    partition: PartitionKeys,
    commands: Sequence[tuple[str, Plan, Command]],
    *,
    outbox_hard_max: int,
) -> str:
    """Apply (run, plan, command) of one partition, those of a run in order; return a letter per command.

    Idempotent by run and number. Raises Closed, BackPressure, PayloadUnreadable.
    """
    verdicts = ""
    for first in range(0, len(commands), COMMANDS_MAX):
        applied: list[Applied] = []
        for run_id, plan, command in commands[first : first + COMMANDS_MAX]:
            value = value_of(command)
            if value is not None and PAYLOAD_TERMS.keeps_apart(value):
                value = await store_payload(redis, keys, value)
            applied.append(_applied(run_id, plan, command, value))
        verdicts += await apply_commands(redis, partition, applied, outbox_hard_max)
    return verdicts


async def last_applied(redis: Connection, partition: PartitionKeys, run_id: str) -> int:
    """Return the number of the last command that the run has seen, 0 where Redis does not know the run."""
    found: bytes | None = await redis.execute_command("HGET", partition.run(run_id), "cmd")
    return int(found or 0)


def value_of(command: Command) -> bytes | None:
    """Return what was said, as JSON bytes: of a signal its value, of others what a person may want to know of it.

    Raises PayloadUnreadable.
    """
    body, by = open_body(command.body), command.by
    match command.type:
        case "signal" | "child_ended":
            return encode_value(body.data, is_sorted=True)
        case "approve" | "reject":
            texts = {"decision": command.type, "by": by, "comment": body.comment, "reason": body.reason}
            return _encode(texts, data=body.data)
        case "complete" | "force_succeed":
            return _encode({"outcome": "succeeded", "by": by, "reason": body.reason}, output=body.output)
        case "fail":
            return _encode({"outcome": "failed", "by": by, "error": body.error})
        case "force_skip":
            return _encode({"outcome": "skipped", "by": by, "reason": body.reason})
        case _:
            return _encode({"reason": body.reason}) if body.reason else None


def _encode(texts: Mapping[str, str | None], **values: object) -> bytes:
    """Texts that are empty are left out, values are not."""
    return encode_value({name: text for name, text in texts.items() if text} | values, is_sorted=True)


def facts_of(plan: Plan, command: Command) -> Facts:
    """Return what the log says of a command; ``value_of`` is its payload."""
    body = decode_body(command.body)
    name = signal_name(command.type, body, token_of(plan, body) if body.step else "")
    data: dict[str, object] = {"number": command.number, "type": command.type}
    if command.type == RAISE:
        data |= {name: amount for name, amount in (("tokens", body.tokens), ("cost", body.cost)) if amount}
    data |= {key: said for key, said in (("by", command.by), ("name", name), ("asked", body.is_asked)) if said}
    return Facts(type="command.applied", node=body.step, scope=body.scope, data=data)


def _applied(run_id: str, plan: Plan, command: Command, value: bytes | None) -> Applied:
    body, facts = decode_body(command.body), facts_of(plan, command)
    kind = _KINDS[command.type]
    return Applied(
        run_id=run_id,
        number=command.number,
        kind=kind,
        reason="cancelled" if kind == "cancel" else ASKED if body.is_asked else "",
        token=token_of(plan, body) if body.step else "",
        name=f"{body.tokens}.{body.cost}" if kind == "budget" else str(facts.data.get("name", "")),
        value=WITHDRAWN_READY if kind == "withdraw" else value or b"",
        closes=plan.closes,
        events=1,
        blob=encode_blob([(encode_facts(facts), value)]),
    )


def signal_name(kind: str, body: Body, token: str) -> str:
    """Return the name of the signal that a command is, or nothing."""
    if kind in ("approve", "reject"):
        return approval_name(token)
    if kind in ("complete", "fail"):
        return outside_name(token, body.attempt)
    if kind == "child_ended":
        return child_name(token, body.attempt)
    return body.name
