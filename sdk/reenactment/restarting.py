"""Restarting: from a run that was cut at one of its events to what a new run begins with. Pure.

``restart_plan`` says with which state the new run begins, what its log says of that, and what Redis is to hold. It is
what a retry, the requeue of a dead letter, a rerun and a fork have in common: they differ in where the run is cut and
which tokens are ``renewed``. The new run's log alone tells its state (``fold_restart``).

What becomes of what lives at the cut:

- a token on the floor, queued or in somebody's hands, is queued again, at the same attempt; a backoff is not waited for
- one that is renewed begins at its first attempt, as if it had never been released: it asks and waits anew, but a
  decision that let it go on, and the mutex that it holds, stay with it
- a wait for a time ends at that time; what may expire keeps the time that it had left, from the start of the new run
- a step that waits for its child run asks for one anew
- signals that came early, and values that a release has brought, are there
- a pause is over, and so is the waking after one; retries and takeovers are counted anew
- a run that waited for its start begins at once; one that was ending goes on ending (``restarted_ends``)
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import msgspec

from ..errors import NotRestartable
from ..events import ErrorInfo, Facts
from ..floor.calling import Word
from ..floor.live_marking import RunHead
from ..floor.restoring import OtherTimer, PlacedToken, restore
from ..fold.cuts import Cut, Settled
from ..fold.emptied import EMPTIED
from ..fold.restarted_ends import TOLD, last_error, met, phase_after
from ..marking.joins import JoinRecord
from ..marking.map_plans import write_ends, write_record
from ..marking.marking import HOLDS, WOKEN, Marking, Mutex, Place, RunPhase, Token, TokenKind, lasting, with_word
from ..marking.plan import Plan
from ..marking.purse import purse_of, without_purse
from ..marking.room import Room
from ..marking.scopes import START_NODE, SWEEP_NODE, WAKER_NODE, Scope, token_key
from ..marking.slot_words import without_slot
from ..outcomes.subflows import CHILD
from ..signal_names import is_child_name
from .impact import needed
from .restarted_values import error_at, facts_at, told_values

EMISSIONS_MAX = 500
"""Tokens that one call queues; of more a waker queues the rest, as after a pause, or a sweep takes them away."""
WAITS_MAX = 1_000
"""Tokens that may wait: all are parked by one call."""
REUSED = "reused_from_base_run"
GIVEN = "given"
"""Why a step is not executed: what it gives is its base run's, or was given with the start."""
ASIDE = "p"
"""The place of a token that a waker is to queue."""

At = tuple[int, Scope]
Event = tuple[Facts, "bytes | None"]


class Wait(NamedTuple):
    """A token that waits from the beginning. ``due``: ``+ms`` from the start, a time in ms, or nothing."""

    token: str
    facts: Facts
    due: str


class RestartPlan(NamedTuple):
    """``marking``: of the new run; times of waits that may expire are ms from its start, ``started_ms`` is 0.

    ``events``: what the log says after ``run.started``, in its transition; each wait is a transition of its own.
    ``head``, ``fields``, ``tokens``, ``timers``: what the run's hash is to hold. ``aside``: how many of the tokens a
    waker is to queue.
    """

    marking: Marking
    events: list[Event]
    waits: list[Wait]
    head: str
    fields: list[tuple[str, Word]]
    tokens: list[PlacedToken]
    timers: list[OtherTimer]


def restart_plan(plan: Plan, cut: Cut, renewed: Collection[At] = ()) -> RestartPlan:
    """Return what a new run begins with that goes on from a cut. renewed: living tokens that begin anew.

    Raises NotRestartable.
    """
    _check(plan, cut)
    marking = _begin(plan, cut, renewed)
    events = [*_inputs(plan, cut, marking), *_reused(plan, cut, marking), *told_values(plan, marking)]
    events += [_join(plan, at, join) for at, join in marking.joins.items()]
    events += _maps(plan, marking)
    events += [_token(plan, cut, at, token) for at, token in marking.tokens.items()]
    waits = [_wait(plan, at, marking.tokens[at], facts) for at, facts in cut.parked.items() if _is_parked(marking, at)]
    events.append(_rest(cut, marking, len(waits)))
    if len(waits) > WAITS_MAX:
        raise NotRestartable(
            f"{len(waits):,} steps wait there; at most {WAITS_MAX:,} can be taken over", reason="too_large"
        )
    marking.seq = 1 + len(events) + len(waits) + sum(bool(wait.due) for wait in waits)
    restored = restore("", plan, marking)
    return RestartPlan(
        marking,
        events,
        waits,
        RunHead.write(RunHead.read(restored.head)._replace(seq=0)),
        [(name, value) for name, value in restored.fields if name != "at"],
        _placed(marking, restored.tokens),
        restored.timers,
    )


def started(marking: Marking, now_ms: int) -> Marking:
    """Return the marking of a ``RestartPlan`` as it is when the run has begun at ``now_ms``."""
    tokens = {at: replace(token) for at, token in marking.tokens.items()}
    for token in tokens.values():
        if token.place is Place.SIGNAL:
            token.due += now_ms if token.due else 0
            token.escalates += now_ms if token.escalates else 0
    return replace(marking, tokens=tokens, started_ms=now_ms)


def _check(plan: Plan, cut: Cut) -> None:
    if cut.marking.phase is RunPhase.HALTED:
        raise NotRestartable(f"at event {cut.seq} the run was halted", reason="halted")
    settled = {at[0] for at in cut.emptied if at in cut.settled}
    gone = {number for number in settled if plan.is_read[number] or plan.ir.nodes[number].keeps_input}
    if gone and (gone := gone & needed(plan, cut.marking)):
        names = ", ".join(sorted({plan.node_ids[number] for number in gone}))
        told = f"outputs that other steps read are not stored any more: {names}"
        raise NotRestartable(told, reason="emptied", hint="'courante rerun' from these steps makes them anew")
    _check_said(plan, cut.marking)


def _check_said(plan: Plan, marking: Marking) -> None:
    """Raise NotRestartable where something is not stored any more that was said to the run and not used up yet."""
    said = {plan.node_ids[number]: value for (number, _), value in marking.values.items() if number >= 0}
    said |= {name: value for name, some in marking.signals.items() for _, value in some}
    gone = sorted(name for name, value in said.items() if value is EMPTIED)
    if gone:
        told = f"what was said to the run is not stored any more: to {', '.join(gone)}"
        raise NotRestartable(told, reason="emptied", hint="fork it at an event before that was said")
    if marking.input is EMPTIED:
        hint = "give one with --input, or start a run from its beginning"
        raise NotRestartable("the input of the run is not stored any more", reason="emptied", hint=hint)


def _begin(plan: Plan, cut: Cut, renewed: Collection[At]) -> Marking:
    """The state that the new run begins with. The cut is left as it is."""
    before = cut.marking
    kept = {at: token for at, token in before.tokens.items() if token.kind is not TokenKind.WAKER}
    drains = before.phase is RunPhase.DRAINING
    tokens = {
        at: met(replace(token)) if drains else _again(plan, cut, at, token, is_renewed=at in renewed)
        for at, token in kept.items()
    }
    phase = phase_after(before, tokens)
    room = _room(before, tokens, phase)
    if sum(token.place is Place.FLOOR for token in tokens.values()) > EMISSIONS_MAX:
        number, kind = (SWEEP_NODE, TokenKind.SWEEP) if drains else (WAKER_NODE, TokenKind.WAKER)
        tokens[number, ()] = Token(kind=kind)
    early = sorted((number, name, value) for name, some in before.signals.items() for number, value in some)
    signals: dict[str, list[tuple[int, bytes]]] = {}
    for number, (_, name, value) in enumerate(early, start=-len(early)):
        signals.setdefault(name, []).append((number, value))
    return Marking(
        phase=phase,
        reason=before.reason,
        error=last_error(before),
        tokens=tokens,
        joins={at: replace(join, slots=[*join.slots]) for at, join in before.joins.items()},
        outputs=dict(before.outputs),
        inputs=dict(before.inputs),
        statuses=dict(before.statuses),
        errors=dict(before.errors),
        last=dict(before.last),
        waiting={} if drains else {name: [*some] for name, some in before.waiting.items() if not is_child_name(name)},
        signals=signals,
        values={at: value for at, value in before.values.items() if at not in renewed},
        mutexes={
            name: Mutex(mutex.holder, [] if drains else [*mutex.waiters]) for name, mutex in before.mutexes.items()
        },
        room=room,
        purse=purse_of(plan.ir),
        completed=[*before.completed],
        marks=set(before.marks),
        maps={at: replace(record, ready=[*record.ready]) for at, record in before.maps.items()},
        chunks={at: [*ends] for at, ends in before.chunks.items()},
        results=dict(before.results),
        item_errors=dict(before.item_errors),
        input=before.input,
        command=1,
    )


def _room(before: Marking, tokens: dict[At, Token], phase: RunPhase) -> Room | None:
    """Who is worked on first in a bounded run: who was before, then who waited, then whose backoff is left out.

    The tokens are put in that order, because the log tells them so. In a run that drains there is room for all.
    """
    if before.room is None:
        return None
    rank = {at: place for place, at in enumerate((*sorted(before.room.inside), *before.room.waiting))}
    order = sorted(tokens, key=lambda at: rank.get(at, len(rank)))
    told = {at: tokens[at] for at in order}
    tokens.clear()
    tokens.update(told)
    room = Room(before.room.limit)
    room.waiting = dict.fromkeys(
        at for at, token in tokens.items() if token.kind is TokenKind.NORMAL and token.place is Place.FLOOR
    )
    if phase is RunPhase.DRAINING:
        room.open()
    room.let_in()
    for at in room.waiting:
        tokens[at].place = Place.ROOM
    return room


def _again(plan: Plan, cut: Cut, at: At, token: Token, *, is_renewed: bool) -> Token:
    """A token as it lives on. Its due time, where it waits for others: in ms from the start of the new run."""
    made = replace(token, deliveries=0, escalates=0)
    if at[0] == START_NODE:
        made.place, made.due, made.extra = Place.FLOOR, 0, token.extra.partition("@")[0]
    if is_renewed and token.kind is TokenKind.NORMAL:
        made.attempt, made.extra = 1, lasting(token.extra)
        is_holder = any(mutex.holder == at for mutex in cut.marking.mutexes.values())
        if is_holder and HOLDS not in made.extra.split("+"):  # somebody has forced it meanwhile
            made.extra = with_word(made.extra, HOLDS)
    if token.place is Place.TIMER and token.attempt > 1 and not _is_waiting(token):
        made.place, made.due = Place.FLOOR, 0
    if token.place in (Place.ROOM, Place.SLOT, Place.BUDGET):
        made.place = Place.FLOOR
    if token.place is Place.SIGNAL and cut.parked[at].reason == CHILD:  # its child run was the other run's
        made.place, made.due, made.waits, made.extra = Place.FLOOR, 0, (), lasting(token.extra)
    elif token.place is Place.SIGNAL:
        made.due = max(1, token.due - cut.at_ms) if token.due else 0
        approval = plan.ir.nodes[at[0]].approval
        if approval is not None and approval.escalate_ms is not None and cut.parked[at].reason == "approval":
            made.escalates = approval.escalate_ms
    if token.kind is TokenKind.NORMAL:
        made.extra = without_purse(without_slot(made.extra))  # those are the other run's: it asks for its own
    return made


def _is_waiting(token: Token) -> bool:
    """Whether its own node has parked it in the timers, to go on when the time has come."""
    return token.extra.rpartition("+")[2] == WOKEN


def _is_parked(marking: Marking, at: At) -> bool:
    token = marking.tokens[at]
    return token.place in (Place.SIGNAL, Place.MUTEX) or (token.place is Place.TIMER and _is_waiting(token))


def _inputs(plan: Plan, cut: Cut, marking: Marking) -> list[Event]:
    found: list[Event] = []
    for at, value in marking.inputs.items():
        settled = cut.settled.get(at)
        attempt = settled.attempt if settled is not None else marking.tokens[at].attempt if at in marking.tokens else 1
        found.append((facts_at(plan, "step.input_kept", at, {}, attempt), value))
    return found


def _reused(plan: Plan, cut: Cut, marking: Marking) -> list[Event]:
    """The steps that are settled, in that order."""
    settled = [(at, one) for at, one in cut.settled.items() if not plan.ir.nodes[at[0]].is_gate]
    return [_reuse(plan, marking, at, one) for at, one in settled if at not in marking.tokens]


def _reuse(plan: Plan, marking: Marking, at: At, settled: Settled) -> Event:
    is_forgotten = plan.ir.nodes[at[0]].keeps_status and at not in marking.statuses
    output = marking.outputs.get(at)
    if output is None and settled.output is not None:
        output, is_forgotten = settled.output, True
    data: dict[str, object] = {"status": settled.status, "forgotten": is_forgotten}
    facts = facts_at(plan, "step.reused", at, data, settled.attempt)
    is_own = settled.reason == GIVEN or (settled.status == "SKIPPED" and settled.reason)
    reason = settled.reason if is_own else REUSED
    told = msgspec.structs.replace(
        facts,
        reason=reason,
        edges=settled.edges,
        loop=settled.loop,
        error=error_at(marking, at),
        data=facts.data | settled.said,
    )
    return told, output


def _join(plan: Plan, at: At, join: JoinRecord) -> Event:
    is_item = plan.ir.nodes[at[0]].is_aggregate
    data: dict[str, object] = {
        "item": at[1][-1] if is_item else 0,
        "live": join.live,
        "dead": join.dead,
        "failed": join.failed,
        "settled": join.is_settled,
        "told": join.told,
        "slots": " ".join(map(str, join.slots)),
    }
    return facts_at(plan, "join.restored", (at[0], at[1][:-1]) if is_item else at, data), None


def _maps(plan: Plan, marking: Marking) -> list[Event]:
    """The maps that have items: their records, then what is known of chunks and items."""
    kind = "fanout.restored"
    found: list[Event] = [
        (facts_at(plan, kind, at, {"record": write_record(record)}), None) for at, record in marking.maps.items()
    ]
    for number, scope in dict.fromkeys((*marking.chunks, *marking.results)):
        facts = facts_at(plan, kind, (number, scope[:-1]), {})
        data: dict[str, object] = {"chunk": scope[-1]}
        if (number, scope) in marking.chunks:
            data["ends"] = write_ends(marking.chunks[number, scope])
        found.append((msgspec.structs.replace(facts, data=data), marking.results.get((number, scope))))
    for (number, scope), error in marking.item_errors.items():
        facts = facts_at(plan, kind, (number, scope[:-1]), {})
        told = msgspec.json.decode(error, type=ErrorInfo)
        found.append((msgspec.structs.replace(facts, data={"item": scope[-1]}, error=told), None))
    return found


def _token(plan: Plan, cut: Cut, at: At, token: Token) -> Event:
    """One that waits is on the floor until its wait is told, which gives it the word that it waits with."""
    is_waiting = token.place is Place.TIMER and _is_waiting(token)
    is_open = token.place is Place.SIGNAL and cut.parked[at].reason == "more"
    data: dict[str, object] = {
        "kind": "" if token.kind is TokenKind.NORMAL else str(token.kind),
        "live": token.live,
        "extra": lasting(token.extra) if is_waiting else token.extra.rpartition("+")[0] if is_open else token.extra,
        "released": token.kind is TokenKind.CLOSING and token.place is Place.FLOOR,
    }
    if cut.marking.room is not None and token.place in (Place.SIGNAL, Place.MUTEX, Place.TIMER):
        data["waits"] = token.place is not Place.TIMER or is_waiting
    facts = facts_at(plan, "token.restored", at, data, token.attempt if token.kind is TokenKind.NORMAL else 0)
    due = token.due if token.place is Place.TIMER and not is_waiting else 0
    return msgspec.structs.replace(facts, due=due), None


def _rest(cut: Cut, marking: Marking, waits: int) -> Event:
    data: dict[str, object] = {
        "seq": cut.seq,
        "phase": TOLD.get(marking.phase, ""),
        "waits": waits,
        "completed": [token_key(*at) for at in marking.completed],
        "marks": [token_key(*at) for at in sorted(marking.marks)],
        "last": {token_key(*at): index for at, index in marking.last.items()},
        "mutexes": {name: token_key(*mutex.holder) for name, mutex in marking.mutexes.items()},
    }
    error = None if marking.error is None else msgspec.json.decode(marking.error, type=ErrorInfo)
    said = {name: value for name, value in data.items() if value}
    return Facts(type="run.restored", reason=marking.reason, error=error, data=said), None


def _wait(plan: Plan, at: At, token: Token, facts: Facts) -> Wait:
    due = ""
    if token.place is Place.TIMER:
        due = str(token.due)
    elif token.due:
        due = f"+{token.due}"
    node = plan.node_ids[at[0]]
    told = msgspec.structs.replace(facts, node=node, worker="", ms=0, attempt=token.attempt)
    return Wait(token_key(*at), told, due)


def _placed(marking: Marking, tokens: list[PlacedToken]) -> list[PlacedToken]:
    """Times of waits are told from the start. What is too much on the floor is left to a token of the engine's own."""
    number = SWEEP_NODE if marking.phase is RunPhase.DRAINING else WAKER_NODE
    queued = sum(token.place == "q" for token in tokens)
    placed: list[PlacedToken] = []
    for token in tokens:
        if token.place == Place.SIGNAL and token.due:
            placed.append(token._replace(due=f"+{token.due}"))
        elif token.place == "q" and queued > EMISSIONS_MAX and token.token != token_key(number, ()):
            placed.append(token._replace(place=ASIDE))
        else:
            placed.append(token)
    return placed
