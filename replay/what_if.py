"""What if: how a run would have been routed by another version of its workflow. Nothing is executed.

The run is enacted again by the rules of the other version (``sdk.reenactment.reenacting``), every step that the log
knows answers with what it gave then, and every decision is made again. Where a step would run of which the log knows
nothing, it ends: what lies behind is open.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import msgspec

from ..compiler.ir import Ir, Node, Read, ReadKind
from ..sdk.marking.marking import Token, TokenKind
from ..sdk.marking.plan import Plan
from ..sdk.marking.rules import taken
from ..sdk.marking.scopes import Scope, scope_text
from ..sdk.outcomes.node_code import Codes
from ..sdk.reenactment.enacting import Gone, Resolve, enact_with
from ..sdk.reenactment.impact import downstream
from ..sdk.reenactment.kept_contents import KeptContents
from ..sdk.reenactment.likeness import kind_of
from ..sdk.reenactment.oracle import Oracle
from ..sdk.reenactment.reenacting import Enacted, Enacting
from ..sdk.reenactment.refitting import Refitting

At: TypeAlias = tuple[int, Scope]
EXECUTED = frozenset({"SUCCEEDED", "FAILED"})


class Place(msgspec.Struct, frozen=True, order=True):
    """A step, and its scope as people read it."""

    step: str
    scope: str = ""


class Rerouted(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that differs: ``a live, b dead``, ``loop back``, ``skipped``, ``executed``, ``fails``."""

    step: str
    scope: str
    before: str
    after: str


class OtherList(msgspec.Struct, frozen=True, kw_only=True):
    """A map that would run over another list. ``before``, ``after``: how many items.

    ``new``: how many of those now it did not have, so that nothing is known of them; ``gone``: how many of those then
    it would not have. Neither: they are the same, in another order.
    """

    step: str
    scope: str
    before: int
    after: int
    new: int
    gone: int


class OtherWait(msgspec.Struct, frozen=True, kw_only=True):
    """An approval or a wait that the run came to and that is defined otherwise. ``what``: ``approval.expires_ms``,
    ``approval.form``, ``signal.names``, ``more.signal`` and others, as the compiled workflow has them. ``before``,
    ``after``: None where it has none. What was decided then stands.
    """

    step: str
    what: str
    before: Any
    after: Any


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """``verdict``: same, differs or unknown. ``executed``: steps that would run and of which nothing is known.

    ``not_reached``: steps that ran then and would not. ``open``: that ran then, and may or may not, as they depend on
    those of which nothing is known. ``unchecked``: whose decisions need values that are not stored any more. ``error``:
    why nothing can be said at all.
    """

    run_id: str
    version: int
    verdict: str
    decisions: list[Rerouted] = []
    lists: list[OtherList] = []
    waits: list[OtherWait] = []
    executed: list[Place] = []
    not_reached: list[Place] = []
    open: list[Place] = []
    unchecked: list[Place] = []
    error: str = ""


async def what_if(before: Plan, after: Plan, oracle: Oracle, bring: Resolve, *, version: int = 0) -> WhatIf:
    """Enact a run again by another plan, and by its own; the difference is the answer. Deterministic.

    before: the run's own; oracle: what its log says (``sdk.reenactment.oracle.Memory``). bring: payloads that are
    stored apart. version: the run's. Raises PayloadUnreadable.
    """
    old, new = Codes(before), Codes(after)
    fitting = Refitting(old, new)
    contents = KeptContents()
    try:
        base = Enacting(before, oracle, is_rerouting=True, contents=contents)
        then = _Way(old, oracle, await enact_with(base, bring))
        had = {
            (fitting.numbers[at[0]], at[1]): n for at, n in base.decisions.firsts.items() if at[0] in fitting.numbers
        }
        regathered = frozenset(_regathered(before.ir, after.ir, fitting.numbers))
        known = _as_if_well(fitting.oracle(oracle), regathered)
        enacting = Enacting(after, known, stop=regathered, is_rerouting=True, contents=contents, had=had)
        now = _Way(new, known, await enact_with(enacting, bring), regathered)
    except Gone as gone:
        return WhatIf(run_id=oracle.run_id, version=version, verdict="unknown", error=str(gone))
    return _compare(then, now, fitting.numbers, version)


class _Way:
    """The way of a run by one version. ``runs``: steps that have been executed; ``floor``: that would be, now.

    ``regathered``: aggregates that would make something else of the same results.
    """

    def __init__(
        self, codes: Codes, oracle: Oracle, enacted: Enacted, regathered: Collection[int] = frozenset()
    ) -> None:
        self.regathered = regathered
        self.codes, self.ir = codes, codes.plan.ir
        self.oracle = oracle
        self.recall = enacted.recall
        self.settled = enacted.cut.settled
        self._emptied = {number for number, _ in oracle.emptied}
        self.runs = {at for at, known in self.settled.items() if known.status in EXECUTED and known.attempt > 0}
        self.floor = {at for at, token in enacted.cut.marking.tokens.items() if self._is_step(at, token)}
        self.unchecked = {at for at in (*self.settled, *self.floor) if self._is_unchecked(at)}

    def _is_step(self, at: At, token: Token) -> bool:
        return at[0] >= 0 and token.kind is TokenKind.NORMAL and not self.ir.nodes[at[0]].is_gate

    def _is_unchecked(self, at: At) -> bool:
        """Whether a decision of a step depends on what is not stored any more."""
        node, code = self.ir.nodes[at[0]], self.codes.of(at[0])
        if code.when is None and not code.routes and not node.is_map:
            return False
        return (code.routes and at in self.oracle.emptied) or any(self._needs_emptied(read) for read in node.reads)

    def _needs_emptied(self, read: Read) -> bool:
        if read.kind is ReadKind.INPUT:
            return not self.oracle.has_input
        return read.kind in (ReadKind.OUTPUT, ReadKind.STEP_INPUT) and read.node in self._emptied

    def told(self, at: At, *, is_routed: bool) -> str | None:
        """What became of a step; None where it was not reached. is_routed: and where it has led."""
        known = self.settled.get(at)
        if known is None:
            return "executed" if at in self.floor else None
        if known.status == "SKIPPED":
            return "skipped" if known.attempt else None
        return _way(self.codes, at[0], known.edges) if is_routed else "executed"

    def gathers_otherwise(self, at: At) -> bool:
        """Whether a step gathers what was made of a list that is another one now, or is another aggregate now."""
        node = self.ir.nodes[at[0]]
        if at[0] in self.regathered:
            return True
        return node.is_aggregate and (self.ir.regions[node.map_region].node, at[1]) in self.recall.relisted

    def other_lists(self) -> list[OtherList]:
        return [
            OtherList(
                step=self.ir.nodes[at[0]].id,
                scope=scope_text(self.ir, *at),
                before=one.before,
                after=len(one.items),
                new=sum(index is None for index in one.items),
                gone=one.before - sum(index is not None for index in one.items),
            )
            for at, one in sorted(self.recall.relisted.items())
        ]

    def places(self, places: Iterable[At]) -> list[Place]:
        nodes = self.ir.nodes
        return [Place(nodes[at[0]].id, scope_text(self.ir, *at)) for at in sorted(places) if not nodes[at[0]].is_gate]


def _regathered(before: Ir, after: Ir, numbers: Mapping[int, int]) -> Iterator[int]:
    """Aggregates of the other version that have another policy, or shape what they gather in another way."""
    for old, new in numbers.items():
        if after.nodes[new].is_aggregate and kind_of(before, old) != kind_of(after, new):
            yield new


def _as_if_well(oracle: Oracle, numbers: Collection[int]) -> Oracle:
    """Failures of these steps are none: an item that has failed is not to be executed for one of them."""
    answers = {
        at: answer._replace(settled=answer.settled._replace(status="SUCCEEDED")) if at[0] in numbers else answer
        for at, answer in oracle.answers.items()
    }
    return replace(oracle, answers=answers)


def _compare(then: _Way, now: _Way, numbers: Mapping[int, int], version: int) -> WhatIf:
    moved: dict[At, At] = {}
    for old in (*then.settled, *then.floor):
        at = now.recall.now((numbers[old[0]], old[1])) if old[0] in numbers else None
        if at is not None:
            moved[at] = old
    unchecked = now.unchecked | {at for at, old in moved.items() if old in then.unchecked}
    decisions = [
        Rerouted(step=now.ir.nodes[at[0]].id, scope=scope_text(now.ir, *at), before=before, after=after)
        for at, old in sorted(moved.items())
        if at not in unchecked
        for before, after in [_told(then, now, old, at)]
        if before is not None and after is not None and before != after
    ]
    ran, runs = then.runs | then.floor, now.runs | now.floor
    executed = {at for at in now.floor if at not in moved or moved[at] not in ran or now.gathers_otherwise(at)}
    hidden = downstream(now.ir, {at[0] for at in executed | unchecked})
    missing = {at: old for at, old in moved.items() if old in ran and at not in runs}
    is_open = {old for at, old in missing.items() if at[0] in hidden}
    gone = {old for old in missing.values() if old not in is_open} | (ran - set(moved.values()))
    lists, waits = now.other_lists(), list(_other_waits(then, now, numbers))
    differs = bool(decisions or executed or gone or lists or waits)
    return WhatIf(
        run_id=then.oracle.run_id,
        version=version,
        verdict="differs" if differs else "unknown" if unchecked or is_open else "same",
        decisions=decisions,
        lists=lists,
        waits=waits,
        executed=now.places(executed),
        not_reached=then.places(gone),
        open=then.places(is_open),
        unchecked=now.places(unchecked),
    )


def _other_waits(then: _Way, now: _Way, numbers: Mapping[int, int]) -> Iterator[OtherWait]:
    """What the run came to of approvals and waits, and is defined otherwise."""
    met = sorted({at[0] for at in then.runs | then.floor if at[0] in numbers})
    for old, new in ((then.ir.nodes[number], now.ir.nodes[numbers[number]]) for number in met):
        if old.type != new.type:
            continue
        before, after = _waits_of(old), _waits_of(new)
        for what in sorted(before.keys() | after.keys()):
            if before.get(what) != after.get(what):
                yield OtherWait(step=new.id, what=what, before=before.get(what), after=after.get(what))


def _waits_of(node: Node) -> dict[str, Any]:
    """All that says for whom and how long a step waits."""
    more = node.config.get("more") if node.is_map else None
    parts = {"approval": node.approval, "signal": node.signal, "more": more}
    return {
        f"{name}.{field}": value
        for name, part in parts.items()
        if part is not None
        for field, value in msgspec.to_builtins(part).items()
    }


def _told(then: _Way, now: _Way, old: At, at: At) -> tuple[str | None, str | None]:
    """What became of a step by each of the two. One that ran then, and is not over now, fails by its expressions."""
    is_routed = then.codes.of(old[0]).routes or now.codes.of(at[0]).routes
    before, after = then.told(old, is_routed=is_routed), now.told(at, is_routed=is_routed)
    if now.gathers_otherwise(at):
        return before, None
    return before, "fails" if at in now.floor and old in then.runs else after


def _way(codes: Codes, number: int, edges: str) -> str:
    """Where a step has led, as people read it: what is live, and what its loop does."""
    node, ir = codes.plan.ir.nodes[number], codes.plan.ir
    decision = edges or taken(node, ir.edges)
    live = sorted({name for name, letter in zip(codes.of(number).targets, decision, strict=False) if letter == "l"})
    loop = {"b": "loop back", "x": "loop ends"}.get(decision[len(node.outs) :], "")
    return "; ".join(filter(None, (", ".join(live), loop))) or "nothing"
