"""What if: how a run would have been routed by another version of its workflow. Nothing is executed.

The run is enacted again by the rules of the other version (``sdk.reenacting``), every step that the log knows answers
with what it gave then, and every decision is made again. Where a step would run of which the log knows nothing, it
ends: what lies behind is open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias

import msgspec

from ..compiler.ir import Read, ReadKind
from ..sdk.impact import downstream
from ..sdk.marking import Token, TokenKind
from ..sdk.oracle import Oracle
from ..sdk.plan import Plan
from ..sdk.redeciding import Unloaded
from ..sdk.reenacting import Enacted, reenact
from ..sdk.rules import taken
from ..sdk.scopes import Scope, scope_text
from .decisions import Codes
from .history import Emptied
from .refitting import Refitting

At: TypeAlias = tuple[int, Scope]
Resolve: TypeAlias = Callable[[bytes], Awaitable[bytes | None]]
EXECUTED = frozenset({"SUCCEEDED", "FAILED"})
LOADS_MAX = 1_000
"""Times that payloads are brought for one run."""


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
    executed: list[Place] = []
    not_reached: list[Place] = []
    open: list[Place] = []
    unchecked: list[Place] = []
    error: str = ""


async def what_if(
    before: Plan, after: Plan, oracle: Oracle, resolve: Resolve, *, version: int = 0, has_input: bool = True
) -> WhatIf:
    """Enact a run again by another plan, and by its own; the difference is the answer. Deterministic.

    before: the run's own; oracle: what its log says (``sdk.oracle.Memory``). resolve: brings payloads that are stored
    apart, None where one is gone. version: the run's. has_input: false where the input of the run is not stored any
    more. Raises PayloadUnreadable.
    """
    old, new = Codes(before), Codes(after)
    fitting = Refitting(old, new)
    contents: dict[bytes, bytes] = {}
    try:
        then = _Way(old, oracle, await _enact(before, oracle, resolve, contents), has_input=has_input)
        known = fitting.oracle(oracle)
        now = _Way(new, known, await _enact(after, known, resolve, contents), has_input=has_input)
    except Emptied as gone:
        return WhatIf(run_id=oracle.run_id, version=version, verdict="unknown", error=f"not stored any more: {gone}")
    return _compare(then, now, fitting.numbers, version)


async def _enact(plan: Plan, oracle: Oracle, resolve: Resolve, contents: dict[bytes, bytes]) -> Enacted:
    """Raises Emptied."""
    for _ in range(LOADS_MAX):
        try:
            return reenact(plan, oracle, reroute=True, contents=contents)
        except Unloaded as needed:
            for reference in needed.references:
                content = await resolve(reference)
                if content is None:
                    raise Emptied(reference.decode()) from needed
                contents[reference] = content
    raise Emptied(f"more than {LOADS_MAX} payloads")


class _Way:
    """The way of a run by one version. ``runs``: steps that have been executed; ``floor``: that would be, now."""

    def __init__(self, codes: Codes, oracle: Oracle, enacted: Enacted, *, has_input: bool) -> None:
        self.codes, self.ir = codes, codes.plan.ir
        self.oracle = oracle
        self.settled = enacted.cut.settled
        self._emptied = {number for number, _ in oracle.emptied}
        self._has_input = has_input
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
            return not self._has_input
        return read.kind in (ReadKind.OUTPUT, ReadKind.STEP_INPUT) and read.node in self._emptied

    def told(self, at: At, *, is_routed: bool) -> str | None:
        """What became of a step; None where it was not reached. is_routed: and where it has led."""
        known = self.settled.get(at)
        if known is None:
            return "executed" if at in self.floor else None
        if known.status == "SKIPPED":
            return "skipped" if known.attempt else None
        return _way(self.codes, at[0], known.edges) if is_routed else "executed"

    def places(self, places: Iterable[At]) -> list[Place]:
        nodes = self.ir.nodes
        return [Place(nodes[at[0]].id, scope_text(self.ir, *at)) for at in sorted(places) if not nodes[at[0]].is_gate]


def _compare(then: _Way, now: _Way, numbers: Mapping[int, int], version: int) -> WhatIf:
    moved = {(numbers[at[0]], at[1]): at for at in (*then.settled, *then.floor) if at[0] in numbers}
    unchecked = now.unchecked | {at for at, old in moved.items() if old in then.unchecked}
    decisions = [
        Rerouted(step=now.ir.nodes[at[0]].id, scope=scope_text(now.ir, *at), before=before, after=after)
        for at, old in sorted(moved.items())
        if at not in unchecked
        for before, after in [_told(then, now, old, at)]
        if before is not None and after is not None and before != after
    ]
    ran, runs = then.runs | then.floor, now.runs | now.floor
    executed = {at for at in now.floor if at not in moved or moved[at] not in ran}
    hidden = downstream(now.ir, {at[0] for at in executed | unchecked})
    missing = {at: old for at, old in moved.items() if old in ran and at not in runs}
    is_open = {old for at, old in missing.items() if at[0] in hidden}
    gone = {old for old in missing.values() if old not in is_open} | {at for at in ran if at[0] not in numbers}
    differs = bool(decisions or executed or gone)
    return WhatIf(
        run_id=then.oracle.run_id,
        version=version,
        verdict="differs" if differs else "unknown" if unchecked or is_open else "same",
        decisions=decisions,
        executed=now.places(executed),
        not_reached=then.places(gone),
        open=then.places(is_open),
        unchecked=now.places(unchecked),
    )


def _told(then: _Way, now: _Way, old: At, at: At) -> tuple[str | None, str | None]:
    """What became of a step by each of the two. One that ran then, and is not over now, fails by its expressions."""
    is_routed = then.codes.of(old[0]).routes or now.codes.of(at[0]).routes
    before, after = then.told(old, is_routed=is_routed), now.told(at, is_routed=is_routed)
    return before, "fails" if at in now.floor and old in then.runs else after


def _way(codes: Codes, number: int, edges: str) -> str:
    """Where a step has led, as people read it: what is live, and what its loop does."""
    node, ir = codes.plan.ir.nodes[number], codes.plan.ir
    decision = edges or taken(node, ir.edges)
    live = sorted({name for name, letter in zip(codes.of(number).targets, decision, strict=False) if letter == "l"})
    loop = {"b": "loop back", "x": "loop ends"}.get(decision[len(node.outs) :], "")
    return "; ".join(filter(None, (", ".join(live), loop))) or "nothing"
