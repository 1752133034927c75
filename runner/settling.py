"""Settling: an outcome becomes one transition, the words that ``advance`` applies.

What does not depend on the scope or the output is computed once per node and decision.
"""

from __future__ import annotations

import msgspec

from ..compiler.workflow import Retry
from ..sdk.caching.cached import CACHE_HIT, told_hit
from ..sdk.events import ITEM_FAILED, ErrorInfo, Facts, encode_blob, encode_facts
from ..sdk.floor.calling import Word
from ..sdk.marking import rules
from ..sdk.marking.maps import FILL_MAX
from ..sdk.marking.marking import WOKEN, RunPhase, TokenKind, with_word
from ..sdk.marking.plan import context_field, cursor_ready
from ..sdk.marking.purse import paid
from ..sdk.marking.scopes import NODE_NAMES, START_NODE, scope_key
from ..sdk.marking.slot_words import without_slot
from ..sdk.outcomes.gathering import Collection
from ..sdk.outcomes.outcomes import (
    AsksBudget,
    Cached,
    Failed,
    GivenBack,
    Opened,
    Outcome,
    Parked,
    Skipped,
    Succeeded,
    Waits,
    failed,
)
from ..sdk.outcomes.retrying import GivesUp, draw_of, next_attempt
from ..sdk.outcomes.routing import loop_word, route
from ..sdk.outcomes.step_context import StepError, decode_json
from ..sdk.sealing.sealing import seal_sayings
from ..sdk.spending.spent import as_data
from . import leftovers, map_settling, run_tokens, sharing
from .transition import Transition, transition_of
from .work import Work

NO_RETRY = Retry(max_attempts=1)
"""Of nodes that have no policy: the engine's own."""
_TELLS_SPENT = frozenset({"step.succeeded", "step.failed", "step.retried", "token.dropped", "spending.recorded"})
_NORMAL, _DRAINING = TokenKind.NORMAL, RunPhase.DRAINING


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
        if isinstance(outcome, Cached):
            return self._succeeded(work, outcome.output, ms, kept=outcome.kept, hit=outcome)
        if isinstance(outcome, Opened):
            return self._opened(work, outcome)
        if isinstance(outcome, Failed):
            return self._failed(work, outcome, ms)
        if isinstance(outcome, Skipped):
            return self._skipped(work, outcome.reason)
        if isinstance(outcome, Parked):
            return self._parked(work, outcome)
        if isinstance(outcome, Waits):
            return self._waits(work, outcome)
        if isinstance(outcome, sharing.ASKING):
            return self._asks(work, outcome)
        return self.give_back(work, outcome)

    def settle_stored(self, work: Work, outcome: Outcome, output: bytes, ms: int) -> Transition:
        """As ``settle``, for an output that is stored apart: it routes on ``output`` and keeps the reference."""
        if not isinstance(outcome, Succeeded):
            return self.settle(work, outcome, ms)
        return self._succeeded(work, output, ms, kept=outcome.output)

    def settle_engine_token(self, work: Work) -> Transition | None:
        """Return the transition of a token that needs no node to run, or None."""
        if work.kind is _NORMAL and work.phase != _DRAINING and work.number >= 0 and not work.node.is_gate:
            return None  # nearly all of them
        if work.kind is TokenKind.SWEEP:
            return transition_of(work, [], ["s"])
        if work.phase == _DRAINING:
            return self.drop(work)
        if work.kind is TokenKind.WAKER:
            return transition_of(work, [], ["j"])
        if work.kind is TokenKind.CLOSING:
            return run_tokens.close(work)
        if work.kind is TokenKind.FILL:
            return transition_of(
                work, [(self._event(work, "fanout.continued"), None)], map_settling.continued(work), 3 * FILL_MAX
            )
        if work.kind is TokenKind.CLEAR:
            return transition_of(work, [], map_settling.cleared(work))
        if work.number == START_NODE:
            return run_tokens.start(work)
        if work.kind is TokenKind.SKIP:
            reason = "upstream_failed" if work.extra == "f" else "branch_not_taken"
            facts = self._event(work, "path.died", reason=reason)
            return self._routed(work, facts, None, rules.died(work.node, work.extra), [])
        if work.kind is TokenKind.CURSOR:
            position, _, decision = work.extra.partition(".")
            facts = self._event(work, "effects.continued")
            return self._routed(work, facts, None, decision, [], int(position))
        if work.node.is_gate and work.kind is TokenKind.NORMAL:
            facts = self._event(work, "gate.passed")
            return self._routed(work, facts, None, rules.taken(work.node, work.plan.ir.edges), [])
        return None

    def drop(self, work: Work) -> Transition:
        """Return the transition of a token that is met in a run that drains, or below a closed map."""
        attempt = work.attempt if work.spent.calls else 0  # of which it is told what it has spent
        return transition_of(work, [(self._event(work, "token.dropped", attempt=attempt), None)], leftovers.of(work))

    def collect(self, work: Work, collections: list[Collection]) -> Transition:
        """Return the transition that keeps the results of each of these chunks as one value."""
        return transition_of(work, *map_settling.collected(work, collections))

    def _opened(self, work: Work, outcome: Opened) -> Transition:
        """A map has items: at first, more of them, or the last."""
        keep = (
            leftovers.value_of(work)
            if outcome.more is not None
            else [*self._kept(work, "SUCCEEDED"), *leftovers.of(work)]
        )
        facts, words = map_settling.opened(work, outcome, self._worker)
        events = [*self._before(work), (facts, outcome.output)]
        taken = map_settling.taken(work, outcome)
        transition = transition_of(work, events, [*taken, *keep, *words], 3 * FILL_MAX + outcome.early)
        return transition._replace(otherwise=self.give_back(work, GivenBack(0))) if taken else transition

    def announce(self, work: Work) -> Transition:
        """Return the note that a step has started; its token stays with the worker."""
        blob = encode_blob([(self._event(work, "step.started", attempt=work.attempt, worker=self._worker), None)])
        return Transition([work.run_id, work.key, work.fence, 0, "", 1, blob, 1, "n"], 3)

    def give_back(self, work: Work, outcome: GivenBack) -> Transition:
        reserved = paid(work.extra) if work.spent.calls and work.plan.has_purse else None
        if reserved is not None:  # what was spent is not reserved any more: who goes on has to ask for as much again
            return self._asks(work, AsksBudget(reserved.tokens, reserved.cost))
        return transition_of(work, self._told(work), [*work.unsent_report, "r", str(outcome.delay_ms)])

    def _told(self, work: Work) -> list[tuple[bytes, bytes | None]]:
        """What the calls of an attempt have taken that goes on: it has no end that would tell."""
        if not work.spent.calls:
            return []
        return [(self._event(work, "spending.recorded", attempt=work.attempt, worker=self._worker), None)]

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
        data: dict[str, object] | None = None,
    ) -> bytes:
        node = work.node.id if work.number >= 0 else NODE_NAMES[work.number]
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
            data=(as_data(work.spent) if kind in _TELLS_SPENT else {}) | (data or {}),
        )
        return encode_facts(facts)

    def _succeeded(
        self, work: Work, output: bytes, ms: int, kept: bytes | None = None, hit: Cached | None = None
    ) -> Transition:
        code = work.code
        assert code is not None
        node = work.node
        decision = ""
        if code.routes:
            try:
                decision = route(work, decode_json(output))
            except StepError as error:
                return self._failed(work, failed(error, node.id, work.attempt, self._worker), ms)
        told = {} if hit is None else told_hit(hit.key, hit.run_id)
        flight = work.flight
        if flight is not None:
            told = flight.keep(work.run_id, kept or output, output)
        facts = None
        if not told and not decision and not ms and not work.scope and work.attempt == 1 and not work.spent.calls:
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
                reason="" if hit is None else CACHE_HIT,
                data=told,
            )
        keep = self._kept(work, "SUCCEEDED")
        if work.plan.is_read[work.number]:
            keep += ["o", context_field("o", work.number, work.scope), kept or output]
        if node.compensate >= 0 or node.cancels:
            keep += work.plan.words(rules.succeeded(work.plan.ir, work.number, work.scope))
        return self._routed(work, facts, kept or output, decision or rules.taken(node, work.plan.ir.edges), keep)

    def _before(self, work: Work) -> list[tuple[bytes, bytes | None]]:
        """What is to be said before the step's own event: who agreed to it, and its input where others read that.

        An input that another node reads is state like an output, and so in the log.
        """
        events: list[tuple[bytes, bytes | None]] = []
        if work.decision is not None:
            words = {name: work.decision[name] for name in ("by", "comment", "reason") if work.decision.get(name)}
            kind = "approval.granted" if work.decision.get("decision") == "approve" else "approval.rejected"
            said = Facts(type=kind, node=work.node.id, scope=scope_key(work.scope), data=seal_sayings(words))
            events.append((encode_facts(said), None))
        if work.input_json is not None and work.node.keeps_input:
            data: dict[str, object] = {"tool": work.tool} if work.tool else {}
            facts = self._event(work, "step.input_kept", attempt=work.attempt, data=data)
            events.append((facts, work.input_json))
        return events

    def _kept(self, work: Work, status: str) -> list[Word]:
        node = work.node
        keep: list[Word] = []
        if node.keeps_input and work.input_json is not None:
            keep += ["o", context_field("i", work.number, work.scope), work.input_json]
        if node.keeps_status:
            keep += ["o", context_field("s", work.number, work.scope), status]
        return keep

    def _failed(self, work: Work, outcome: Failed, ms: int) -> Transition:
        decision = next_attempt(
            work.node.retry or NO_RETRY, outcome.failure, work.attempt, draw_of(work.run_id, work.key, work.attempt)
        )
        final = self._failed_for_good(work, outcome.error, ms)
        if isinstance(decision, GivesUp):
            return final
        facts = self._event(work, "step.retried", attempt=work.attempt, worker=self._worker, ms=ms, error=outcome.error)
        ready = self._parked_ready(work, attempt=work.attempt + 1, extra=without_slot(work.lasting_extra))
        budget = work.plan.ir.retry_budget
        words: list[Word] = [
            "y",
            "" if budget is None else budget,
            f"+{decision.delay_ms}",
            ready,
            *leftovers.value_of(work),
            *work.unsent_report,
        ]
        return transition_of(work, [*self._before(work), (facts, None)], words)._replace(otherwise=final)

    def _failed_for_good(self, work: Work, error: ErrorInfo, ms: int) -> Transition:
        decision, effect = rules.failed(work.plan.ir, work.node)
        item = rules.failing_item(work.plan.ir, work.number, work.scope)
        facts = self._event(
            work,
            "step.failed",
            attempt=work.attempt,
            worker=self._worker,
            reason="" if item is None else ITEM_FAILED,
            edges=decision,
            ms=ms,
            error=error,
        )
        content = msgspec.json.encode(error)
        keep = self._kept(work, "FAILED")
        if not decision:
            events = [*self._before(work), (facts, None)]
            words = [*keep, "d", "failed", content, work.plan.closes, *leftovers.of(work)]
            return transition_of(work, events, words)
        keep += ["o", context_field("e", work.number, work.scope), content]
        if item is not None:
            keep += work.plan.words([rules.ItemError(*item, content)])
        if effect is not None:
            keep += ["x", content, work.plan.closes]
        return self._routed(work, facts, None, decision, keep)

    def _skipped(self, work: Work, reason: str) -> Transition:
        facts = self._event(work, "step.skipped", attempt=work.attempt, worker=self._worker, reason=reason)
        return self._routed(work, facts, None, rules.died(work.node, "d"), self._kept(work, "SKIPPED"))

    def _parked(self, work: Work, outcome: Parked) -> Transition:
        facts = self._event(work, "step.waiting", attempt=work.attempt, worker=self._worker, reason="timer")
        ready = self._parked_ready(work, extra=with_word(work.lasting_extra, WOKEN))
        words = [*self._reached(work, "timer"), "p", outcome.due, ready, *leftovers.value_of(work)]
        return transition_of(work, [*self._before(work), *self._told(work), (facts, None)], words)

    def _waits(self, work: Work, outcome: Waits) -> Transition:
        """Wait for somebody outside."""
        data: dict[str, object] = {"names": list(outcome.names), **outcome.said}
        if outcome.expires_ms is not None:
            data["expires"] = True
        facts = Facts(
            type="step.waiting",
            node=work.node.id,
            scope=scope_key(work.scope),
            attempt=work.attempt,
            worker=self._worker,
            reason=outcome.reason,
            data=data,
        )
        due = "" if outcome.expires_ms is None else f"+{outcome.expires_ms}"
        escalates = "" if outcome.escalates_ms is None else f"+{outcome.escalates_ms}"
        ready = self._parked_ready(work, brings_value=True)
        words: list[Word] = [*leftovers.value_of(work), *self._reached(work, outcome.reason)]
        words += ["w", " ".join(outcome.names), due, escalates, ready]
        events = [*self._before(work), *self._told(work), (encode_facts(facts), outcome.payload)]
        return transition_of(work, events, words)

    def _asks(self, work: Work, outcome: sharing.Asking) -> Transition:
        """Ask for what it must have to itself, or shares."""
        event, words = sharing.asked(work, outcome, self._worker)
        return transition_of(
            work,
            [*self._before(work), *self._told(work), (event, None)],
            [*leftovers.value_of(work), *work.unsent_report, *words],
        )

    def _reached(self, work: Work, reason: str) -> list[str]:
        """The operations of the milestone edges that parking decides; nothing where it parked before."""
        if not rules.reaches_milestones(work.node, reason):
            return []
        return work.plan.words(rules.parked(work.plan.ir, work.number, work.scope))

    def _parked_ready(
        self, work: Work, *, attempt: int = 0, extra: str | None = None, brings_value: bool = False
    ) -> str:
        return work.plan.parked_ready(
            work.number,
            work.scope,
            work.live,
            attempt=attempt or work.attempt,
            extra=work.lasting_extra if extra is None else extra,
            brings_value=brings_value,
        )

    def _routed(
        self, work: Work, facts: bytes, payload: bytes | None, decision: str, keep: list[Word], position: int = 0
    ) -> Transition:
        words, following = self._effects(work, decision, position)
        keep = [*keep, *map_settling.forgotten(work)] if work.node.is_aggregate else keep
        if following >= 0:
            words = [*words, "c", cursor_ready(following, decision)]
        if work.node.mutex or work.extra or work.has_report:
            keep = [*keep, *leftovers.of(work)]
        return transition_of(work, [*self._before(work), (facts, payload)], [*keep, *words] if keep else words)

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
