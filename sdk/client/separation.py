"""Separation: approvals that refuse who has started the run (``separate_approver``).

Who has started it stands in its start command, which nobody changes: what is found here still holds when the decision
is committed. Who has started a run that this one goes on from, or is a step of, has started this one too.

Over the API ``by`` is the name of a key, or ``key: name`` where the request names somebody. Two are the same where they
have one of these names in common. A name ``ann@laptop`` is one of ann's: somebody with several keys is one person.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from ...compiler.ir import Ir, Node
from ..errors import ApproverNotSeparate, InputInvalid
from ..marking.marking import APPROVED, Marking
from ..marking.plan import Plan
from ..marking.scopes import parse_token_key
from ..reenactment.restarting import GIVEN, Event
from ..signal_names import approved_key
from ..stores.command_bodies import decode_body
from ..stores.commands import StartCommand, find_releases, find_starters
from ..stores.connection import Connection

HIDDEN = ("Cc", "Cf")
"""Categories of characters that nobody sees."""
HINT = "somebody else has to decide; a run that nobody wants can be cancelled"


async def check_separate(conn: Connection, run_id: str, node: Node, by: str | None) -> None:
    """Raises ApproverNotSeparate where the node asks for somebody else than who wants to end its wait."""
    if not _is_separate(node):
        return
    asks = f"step {node.id!r} asks for somebody else than who has started the run"
    if not by or not _names(by):
        raise ApproverNotSeparate(f"{asks}: nobody says who this is", by=by, hint="say it with 'by'")
    for starter in await find_starters(conn, run_id):
        if not starter or not _names(starter):
            raise ApproverNotSeparate(
                f"{asks}, and it is not known who that was", by=by, hint="start it anew with 'by'"
            )
        if _names(starter) & _names(by):
            who = by if by == starter else f"{by} (as {starter})"
            raise ApproverNotSeparate(f"{asks}, and that was {who}", by=by, hint=HINT)


def check_starter(ir: Ir, by: str | None) -> None:
    """Raises InputInvalid where nobody says who starts a run about which this will be asked."""
    if by and _names(by):
        return
    asking = next((node.id for node in ir.nodes if _is_separate(node)), None)
    if asking is not None:
        told = f"by: step {asking!r} asks for somebody else than who has started the run, and nobody says who this is"
        raise InputInvalid(told, hint="say who starts it")


async def check_restart(
    conn: Connection, plan: Plan, marking: Marking, events: Sequence[Event], start: StartCommand
) -> None:
    """Look at a start that goes on from another run: it must not bring its own starter's word about itself.

    That is an output given in the place of a decision, or, where input or outputs are other ones, a decision or an end
    by force of before that is taken over. marking, events: what the new run begins with. Raises ApproverNotSeparate,
    InputInvalid.
    """
    check_starter(plan.ir, start.by)
    separate = {node.id for node in plan.ir.nodes if _is_separate(node)}
    terms = start.base_terms
    if not separate or terms is None or not (terms.given or terms.has_input):
        return
    taken = {facts.node: facts.reason for facts, _ in events if facts.type == "step.reused" and facts.node in separate}
    given = sorted(node for node, reason in taken.items() if reason == GIVEN)
    if given:
        told = f"step {given[0]!r} asks for somebody else than who starts the run, and its output is given"
        raise ApproverNotSeparate(told, by=start.by, hint="begin where it has not been asked yet")
    kept = separate & {*taken, *_decided(plan, marking)}
    for command in await find_releases(conn, start.base_run_id or ""):
        step = decode_body(command.body).step
        if step in kept and _names(command.by or "") & _names(start.by or ""):
            did = f"approved step {step!r}" if command.type == "approve" else f"ended step {step!r} by force"
            told = f"{start.by} has {did} of the run, and would now start it with something else"
            raise ApproverNotSeparate(
                told, by=start.by, hint="somebody else has to start it, or begin before that step"
            )


def _decided(plan: Plan, marking: Marking) -> set[str]:
    """The steps about which the run has a decision, though they have not ended: it came early, or has let them in."""
    found = {node for (node, _), token in marking.tokens.items() if APPROVED in token.extra.split("+")}
    found |= {node for node, _ in marking.values}
    found |= {parse_token_key(key)[0] for name in marking.signals if (key := approved_key(name)) is not None}
    return {plan.node_ids[node] for node in found}


def _is_separate(node: Node) -> bool:
    return node.approval is not None and node.approval.is_separate


def _names(by: str) -> set[str]:
    key, _, said = by.partition(": ")
    people = [name.partition("@")[0] for name in (key, said)]
    return {name for name in map(_visible, (by, key, said, *people)) if name}


def _visible(name: str) -> str:
    """The name as people see it: empty where nothing is seen."""
    shown = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(
        "".join(each for each in shown if each.isspace() or unicodedata.category(each) not in HIDDEN).split()
    )
