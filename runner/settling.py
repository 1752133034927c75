"""Settling: an outcome becomes one transition, the words that ``advance`` applies.

What does not depend on the scope or the output is computed once per node and decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..sdk import rules
from ..sdk.events import ErrorInfo, Facts, encode_blob, encode_facts
from ..sdk.marking import WOKEN, RunPhase, TokenKind
from ..sdk.plan import SWEEP_READY, context_field, cursor_ready, start_ready
from ..sdk.routing import loop_word, route
from ..sdk.scopes import START_NODE, scope_key
from ..sdk.scripts import Word
from ..sdk.step_context import StepError, decode_json
from .outcomes import Failed, GivenBack, Outcome, Parked, Skipped, Succeeded, describe
from .work import Work

STARTED_AFTER_S = 0.1
"""An attempt that runs longer says so with an event of its own."""


class Transition(NamedTuple):
    """``words``: as advance takes them. ``writes``: about how many keys and entries it changes."""

    words: list[Word]
    writes: int


class Settler:
    """Makes transitions for one worker."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._words: dict[tuple[str, int, str], tuple[list[str], int]] = {}
        self._facts: dict[tuple[str, int, str], bytes] = {}

    def settle(self, work: Work, outcome: Outcome, ms: int = 0) -> Transition:
        """Return the transition of a step. ``ms``: how long it ran."""
        if isinstance(outcome, Succeeded):
            return self._succeeded(work, outcome.output, ms)
        if isinstance(outcome, Failed):
            return self._failed(work, outcome.error, ms)
        if isinstance(outcome, Skipped):
            return self._skipped(work, outcome.reason)
        if isinstance(outcome, Parked):
            return self._parked(work, outcome)
        return self.give_back(work, outcome)

    def settle_stored(self, work: Work, outcome: Outcome, output: bytes, ms: int) -> Transition:
        """As ``settle``, for an output that is stored apart: it routes on ``output`` and keeps the reference."""
        if isinstance(outcome, Succeeded):
            return self._succeeded(work, output, ms, kept=outcome.output)
        return self.settle(work, outcome, ms)

    def settle_engine_token(self, work: Work) -> Transition | None:
        """Return the transition of a token that needs no node to run, or None."""
        if work.kind is TokenKind.SWEEP:
            return _transition(work, [], ["s"])
        if work.phase == RunPhase.DRAINING:
            return _transition(work, [(self._event(work, "token.dropped"), None)], [])
        if work.number == START_NODE:
            return self._start(work)
        if work.kind is TokenKind.SKIP:
            reason = "upstream_failed" if work.extra == "f" else "branch_not_taken"
            facts = self._event(work, "path.died", reason=reason)
            return self._routed(work, facts, None, rules.died(work.node, work.extra), [])
        if work.kind is TokenKind.CURSOR:
            position, _, decision = work.extra.partition(".")
            facts = self._event(work, "effects.continued")
            return self._routed(work, facts, None, decision, [], int(position))
        if work.node.is_gate:
            facts = self._event(work, "gate.passed")
            return self._routed(work, facts, None, rules.taken(work.node, work.plan.ir.edges), [])
        return None

    def announce(self, work: Work) -> Transition:
        """Return the note that a step has started; its token stays with the worker."""
        blob = encode_blob([(self._event(work, "step.started", attempt=work.attempt, worker=self._worker), None)])
        return Transition([work.run_id, work.key, work.fence, 0, "", 1, blob, 1, "n"], 3)

    def give_back(self, work: Work, outcome: GivenBack) -> Transition:
        return _transition(work, [], ["r", str(outcome.delay_ms)])

    def _event(
        self,
        work: Work,
        kind: str,
        *,
        attempt: int = 0,
        worker: str = "",
        reason: str = "",
        edges: str = "",
        loop: str = "",
        ms: int = 0,
        error: ErrorInfo | None = None,
    ) -> bytes:
        node = "(start)" if work.number == START_NODE else work.node.id if work.number >= 0 else ""
        facts = Facts(
            type=kind,
            node=node,
            scope=scope_key(work.scope),
            attempt=attempt,
            worker=worker,
            reason=reason,
            edges=edges,
            loop=loop,
            ms=ms,
            error=error,
        )
        return encode_facts(facts)

    def _succeeded(self, work: Work, output: bytes, ms: int, kept: bytes | None = None) -> Transition:
        code = work.code
        assert code is not None
        node = work.node
        decision = ""
        if code.routes:
            try:
                decision = route(work, decode_json(output))
            except StepError as error:
                return self._failed(work, describe(error, node.id, work.attempt, self._worker), ms)
        facts = None
        if not decision and not ms and not work.scope and work.attempt == 1:
            key = (work.plan.hash, work.number, "")
            facts = self._facts.get(key)
            if facts is None:
                facts = self._facts[key] = self._event(work, "step.succeeded", attempt=1, worker=self._worker)
        if facts is None:
            facts = self._event(
                work,
                "step.succeeded",
                attempt=work.attempt,
                worker=self._worker,
                edges=decision,
                loop=loop_word(node, work.plan.ir.edges, decision),
                ms=ms,
            )
        keep = self._kept(work, "SUCCEEDED")
        if work.plan.is_read[work.number]:
            keep += ["o", context_field("o", work.number, work.scope), kept or output]
        return self._routed(work, facts, kept or output, decision or rules.taken(node, work.plan.ir.edges), keep)

    def _kept_input(self, work: Work) -> list[tuple[bytes, bytes | None]]:
        """An input that another node reads is state like an output, and so in the log: with an event of its own."""
        if work.input_json is None or not work.node.keeps_input:
            return []
        return [(self._event(work, "step.input_kept", attempt=work.attempt), work.input_json)]

    def _kept(self, work: Work, status: str) -> list[Word]:
        node = work.node
        keep: list[Word] = []
        if node.keeps_input and work.input_json is not None:
            keep += ["o", context_field("i", work.number, work.scope), work.input_json]
        if node.keeps_status:
            keep += ["o", context_field("s", work.number, work.scope), status]
        return keep

    def _failed(self, work: Work, error: ErrorInfo, ms: int) -> Transition:
        decision, effect = rules.failed(work.plan.ir, work.node)
        facts = self._event(work, "step.failed", attempt=work.attempt, worker=self._worker, ms=ms, error=error)
        content = msgspec.json.encode(error)
        keep = self._kept(work, "FAILED")
        if not decision:
            events = [*self._kept_input(work), (facts, None)]
            return _transition(work, events, [*keep, "d", "failed", content, SWEEP_READY])
        keep += ["o", context_field("e", work.number, work.scope), content]
        if effect is not None:
            keep += ["x", content]
        return self._routed(work, facts, None, decision, keep)

    def _skipped(self, work: Work, reason: str) -> Transition:
        facts = self._event(work, "step.skipped", attempt=work.attempt, worker=self._worker, reason=reason)
        return self._routed(work, facts, None, rules.died(work.node, "d"), self._kept(work, "SKIPPED"))

    def _parked(self, work: Work, outcome: Parked) -> Transition:
        facts = self._event(work, "step.waiting", attempt=work.attempt, worker=self._worker, reason="timer")
        fields = work.plan.reads(work.number, work.scope, work.live)
        ready = f"n|{work.node.stream}|{work.attempt}|{WOKEN}|{work.plan.travelling(fields)}|{work.live}"
        return _transition(work, [(facts, None)], ["p", outcome.due, ready])

    def _routed(
        self, work: Work, facts: bytes, payload: bytes | None, decision: str, keep: list[Word], position: int = 0
    ) -> Transition:
        words, following = self._effects(work, decision, position)
        if following >= 0:
            words = [*words, "c", cursor_ready(following, decision)]
        return _transition(work, [*self._kept_input(work), (facts, payload)], [*keep, *words] if keep else words)

    def _effects(self, work: Work, decision: str, position: int) -> tuple[list[str], int]:
        """Without a scope, a node's effects are a constant of its decision."""
        plan = work.plan
        if work.scope or position:
            effects, following = rules.settle(plan.ir, work.number, work.scope, decision, position)
            return plan.words(effects) or list(plan.ending), following
        key = (plan.hash, work.number, decision)
        known = self._words.get(key)
        if known is None:
            effects, following = rules.settle(plan.ir, work.number, (), decision)
            known = plan.words(effects) or list(plan.ending), following
            if len(self._words) > 50_000:
                self._words.clear()
            self._words[key] = known
        return known

    def _start(self, work: Work) -> Transition:
        position, _, expires = work.extra.partition("@")
        if expires and work.now_ms > int(expires):
            error = ErrorInfo(type="EXPIRED", message="the run was not started before it expired")
            drained: list[Word] = ["d", "expired", msgspec.json.encode(error), SWEEP_READY]
            return _transition(work, [(self._event(work, "run.entered", reason="expired", error=error), None)], drained)
        effects, following = rules.start(work.plan.ir, int(position))
        words = work.plan.words(effects)
        if following >= 0:
            words += ["c", start_ready(following)]
        return _transition(work, [(self._event(work, "run.entered"), None)], words)


def _transition(work: Work, events: list[tuple[bytes, bytes | None]], words: Sequence[Word]) -> Transition:
    head: list[Word] = [
        work.run_id,
        work.key,
        work.fence,
        work.stream,
        work.entry,
        len(events),
        encode_blob(events) if events else b"",
        len(words),
    ]
    head += words
    return Transition(head, 6 + len(words) // 2)
