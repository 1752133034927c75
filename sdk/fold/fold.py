"""``fold(ir, events) -> Marking``: the state of a run is a fold of its log. Pure; calls no handler, reads no clock.

The routing that an event states is applied by the same rules as on the hot path. What the scripts logged of
themselves (a join fired, a timer was set) is held against what the rules say must have happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import msgspec

from ...compiler.ir import Ir, Node
from ..corrupt import Corrupt
from ..events import BELOW_CLOSED, DAMAGES, SCRIPT_EVENTS, Facts, RecordedEvent
from ..marking import waiting
from ..marking.marking import GOES_ON, PARKS, Marking, Place, RunPhase, Token, TokenKind
from ..marking.purse import purse_of
from ..marking.room import room_of
from ..marking.rules import Drain, Effect, died, failed, is_decision, settle, start, succeeded, taken
from ..marking.scopes import START_NODE, SWEEP_NODE, WAKER_NODE, Scope, token_key
from . import fold_maps, fold_restart, fold_waits
from .emptied import value_in
from .fold_ends import FINAL, check_end
from .fold_places import place_of
from .migrated import MIGRATED, ir_told, move_marking


def fold(ir: Ir, events: Iterable[RecordedEvent], irs: Mapping[str, Ir] | None = None) -> Marking:
    """Return the marking after the last event. Raises Corrupt, naming the event, where they contradict the rules.

    ir: that the run began with. irs: those that it has moved to.
    """
    folder = Folder(ir, irs=irs)
    for event in events:
        folder.add(event)
    return folder.marking


class Folder:
    """A fold in progress: ``add`` events in order, look at ``marking`` in between.

    numbers: those of the nodes, where somebody knows them; with them a fold costs nothing that grows with the graph.
    irs: by hash, those that the run has moved to; whoever reads the events may add them as they come.
    """

    def __init__(self, ir: Ir, numbers: Mapping[str, int] | None = None, irs: Mapping[str, Ir] | None = None) -> None:
        self.ir = ir
        self._irs = irs or {}
        self.marking = Marking(room=room_of(ir), purse=purse_of(ir))
        self.status = "PENDING"
        self.halted_from: RunPhase | None = None  # the phase of a run that was halted because Redis had it damaged
        self._numbers = {node.id: number for number, node in enumerate(ir.nodes)} if numbers is None else numbers
        self._expected: deque[str] = deque()
        self.is_restoring = False  # it is being told what it takes over from another run

    @property
    def is_between(self) -> bool:
        """Whether nothing that the rules demand is still to be said: here a run may be cut."""
        return not self._expected and not self.is_restoring

    def add(self, event: RecordedEvent) -> None:
        """Apply one event. Raises Corrupt."""
        if event.seq != self.marking.seq + 1:
            raise Corrupt(f"event {event.seq} follows event {self.marking.seq}")
        kind = event.facts.type
        try:
            self._check_order(kind)
            if self.marking.purse is not None:
                fold_waits.charge_purse(self.ir, self.marking.purse, event.facts)
            if kind in FINAL:
                self._run_ended(event)
            elif kind in self._HANDLERS:
                self._HANDLERS[kind](self, event)
                self._expected.extend(() if self.is_restoring else self.marking.release_closing())
        except Corrupt as error:
            raise Corrupt(f"event {event.seq} ({kind}): {error}") from error
        self.marking.seq = event.seq
        self.marking.let_in()

    def _check_order(self, kind: str) -> None:
        if (kind == "run.started") != (self.marking.seq == 0):
            raise Corrupt("a run starts once, with its first event")
        if self.marking.phase is RunPhase.ENDED:
            raise Corrupt("the run has ended before")
        if kind in fold_restart.TYPES if not self.is_restoring else kind not in fold_restart.ALLOWED:
            raise Corrupt("a run is told once, at its beginning, what it takes over")
        if self._expected and kind not in SCRIPT_EVENTS:
            raise Corrupt(f"{self._expected[0]!r} is missing")

    def _place(self, facts: Facts) -> tuple[int, Scope]:
        return place_of(self.ir, self._numbers, facts)

    def _step(self, facts: Facts) -> tuple[int, Scope]:
        """The place of an event that only a node can have."""
        place = self._place(facts)
        if place[0] < 0:
            raise Corrupt("it names no node")
        return place

    def _node(self, facts: Facts) -> Node:
        return self.ir.nodes[self._step(facts)[0]]

    def _token(self, place: tuple[int, Scope], *kinds: TokenKind) -> Token:
        """The living token at a place, of one of ``kinds``, not parked."""
        token = self.marking.tokens.get(place)
        if token is None or token.kind not in kinds:
            raise Corrupt(f"no such token lives at {token_key(*place)}")
        if token.place is not Place.FLOOR:
            raise Corrupt(f"the token {token_key(*place)} is parked")
        return token

    def _living(self, event: RecordedEvent, *kinds: TokenKind) -> Token:
        return self._token(self._step(event.facts), *kinds)

    def _any(self, event: RecordedEvent) -> Token:
        """The living token that an event is about, wherever it is."""
        place = self._place(event.facts)
        token = self.marking.tokens.get(place)
        if token is None:
            raise Corrupt(f"no token lives at {token_key(*place)}")
        return token

    def _take(self, node: int, scope: Scope) -> Token:
        """Take a token away; what it holds goes to the next."""
        token = self.marking.take(node, scope)
        if node >= 0 and self.ir.nodes[node].mutex:
            self._expected.extend(waiting.free_mutex(self.marking, (node, scope), self.ir.nodes[node].mutex))
        return token

    def _apply(self, effects: Iterable[Effect]) -> None:
        self._expected.extend(self.marking.apply(self.ir, effects))

    def _settle(self, event: RecordedEvent, decision: str, position: int = 0) -> None:
        number, scope = self._step(event.facts)
        self._token((number, scope), *TokenKind)
        token = self._take(number, scope)
        if token.kind is TokenKind.NORMAL:
            fold_maps.settled(self.ir, self.marking, (number, scope), token.live)
        if self.marking.phase not in GOES_ON:
            return
        effects, following = settle(self.ir, number, scope, decision, position)
        self._apply(effects)
        if following >= 0:
            token.kind, token.extra, token.live = TokenKind.CURSOR, f"{following}.{decision}", ""
            token.deliveries = 0
            self.marking.put(number, scope, token)

    def _run_started(self, event: RecordedEvent) -> None:
        self.status = "PENDING" if event.facts.data.get("held") else "RUNNING"
        self.marking.command = 1
        self.marking.started_ms = event.at_ms
        self.marking.input = value_in(event)
        self.is_restoring = bool(event.facts.data.get("restored"))
        if self.is_restoring:
            return
        if event.facts.data.get("held"):
            expires = event.facts.data.get("expires")
            place = Place.TIMER if event.facts.due else Place.FLOOR
            extra = f"0@{expires}" if expires else "0"
            self.marking.put(START_NODE, (), Token(kind=TokenKind.CURSOR, extra=extra, place=place))
            if event.facts.due:
                self._expected.append(f"P{START_NODE}::")
        else:
            self._enter(0)

    def _restored(self, event: RecordedEvent) -> None:
        fold_restart.restored(self.ir, self.marking, self._place(event.facts), event)
        self.is_restoring = event.facts.type != "run.restored"

    def _run_entered(self, event: RecordedEvent) -> None:
        token = self._token((START_NODE, ()), TokenKind.CURSOR)
        self._take(START_NODE, ())
        self.status = "RUNNING"
        if self.marking.phase in GOES_ON:
            if event.facts.reason:
                self._apply([Drain(event.facts.reason)])
                self._keep_first_error(event.facts)
            else:
                self._enter(int(token.extra.partition("@")[0]))

    def _enter(self, position: int) -> None:
        effects, following = start(self.ir, position)
        self._apply(effects)
        if following >= 0:
            self.marking.put(START_NODE, (), Token(kind=TokenKind.CURSOR, extra=str(following)))

    def _step_succeeded(self, event: RecordedEvent) -> None:
        place = self._step(event.facts)
        self._token(place, TokenKind.NORMAL)
        if event.payload is not None:
            self.marking.outputs[place] = event.payload
        self._keep_status(place, "SUCCEEDED")
        node = self.ir.nodes[place[0]]
        if node.is_map:
            items = fold_maps.items(self.ir, self.marking, place, event, is_open=False)
            self._take(*place)
            self._apply([*succeeded(self.ir, *place), *items])
            return
        decision = event.facts.edges or taken(node, self.ir.edges)
        if not is_decision(node, decision):
            raise Corrupt(f"{decision!r} decides nothing at {node.id!r}")
        self._apply(succeeded(self.ir, *place))
        self._settle(event, decision)

    def _step_input_kept(self, event: RecordedEvent) -> None:
        if event.payload is not None:
            self.marking.inputs[self._step(event.facts)] = event.payload

    def _step_skipped(self, event: RecordedEvent) -> None:
        place = self._step(event.facts)
        self._token(place, TokenKind.NORMAL)
        self._keep_status(place, "SKIPPED")
        self._settle(event, died(self.ir.nodes[place[0]], "d"))

    def _step_failed(self, event: RecordedEvent) -> None:
        place = self._step(event.facts)
        self._token(place, TokenKind.NORMAL)
        self._keep_status(place, "FAILED")
        decision, effect = failed(self.ir, self.ir.nodes[place[0]])
        if effect is not None and self.marking.phase in GOES_ON:
            self._apply([effect])
            self._keep_first_error(event.facts)
        if not decision:
            self._take(*place)
            return
        if event.facts.error is not None:
            content = msgspec.json.encode(event.facts.error)
            self.marking.errors[place] = content
            self._apply(fold_maps.item_error(self.ir, place, content))
        self._settle(event, decision)

    def _keep_status(self, place: tuple[int, Scope], status: str) -> None:
        if self.ir.nodes[place[0]].keeps_status:
            self.marking.statuses[place] = status.encode()

    def _keep_first_error(self, facts: Facts) -> None:
        if self.marking.error is None and facts.error is not None:
            self.marking.error = msgspec.json.encode(facts.error)

    def _step_waiting(self, event: RecordedEvent) -> None:
        place = self._step(event.facts)
        token = self._token(place, TokenKind.NORMAL)
        if self.marking.phase not in PARKS:
            self._take(*place)
        else:
            self._expected.extend(fold_waits.step_waiting(self.ir, self.marking, place, token, event))

    def _step_retried(self, event: RecordedEvent) -> None:
        place = self._step(event.facts)
        token = self._token(place, TokenKind.NORMAL)
        if self.marking.phase not in PARKS:
            self._take(*place)
        else:
            self._expected.extend(fold_waits.step_retried(self.marking, place, token, event.facts))

    def _command_applied(self, event: RecordedEvent) -> None:
        place = self._place(event.facts)
        self._expected.extend(fold_waits.command_applied(self.ir, self.marking, place, event))

    def _run_draining(self, event: RecordedEvent) -> None:
        """After a command it is expected; by itself it is a limit that was reached."""
        reason = event.facts.reason
        if self._expected:
            self._expect(f"X{reason}")
        elif fold_waits.drain(self.ir, self.marking, reason) == ["N"]:
            raise Corrupt("the run was ending already")
        self._keep_first_error(event.facts)

    def _token_released(self, event: RecordedEvent) -> None:
        if self._expected:
            self._expect_at("L", event, f":{event.facts.data.get('word')}")
        else:
            fold_waits.token_released(self.marking, self._place(event.facts), event.facts)

    def _path_died(self, event: RecordedEvent) -> None:
        token = self._token(self._step(event.facts), TokenKind.SKIP)
        self._settle(event, died(self._node(event.facts), token.extra))

    def _effects_continued(self, event: RecordedEvent) -> None:
        token = self._token(self._step(event.facts), TokenKind.CURSOR)
        position, _, decision = token.extra.partition(".")
        self._settle(event, decision, int(position))

    def _timer_set(self, event: RecordedEvent) -> None:
        self._expect_at("P", event, ":")
        self._any(event).due = event.facts.due

    def _run_swept(self, _event: RecordedEvent) -> None:
        self._take(SWEEP_NODE, ())

    def _run_woken(self, _event: RecordedEvent) -> None:
        self._take(WAKER_NODE, ())

    def _map_goes_on(self, event: RecordedEvent) -> None:
        self._expected.extend(fold_maps.own_token(self.ir, self.marking, self._step(event.facts), event))

    def _token_gone(self, event: RecordedEvent) -> None:
        is_below = fold_maps.is_gone(self.ir, self.marking, self._place(event.facts))
        if self.marking.phase in GOES_ON and not is_below:
            raise Corrupt("no token is taken from a run that goes on")
        is_parked = self._any(event).place is not Place.FLOOR
        if is_parked and event.facts.type == "token.dropped":
            raise Corrupt("a worker drops what is not parked")
        if event.facts.reason == BELOW_CLOSED:
            self.marking.lose(self._any(event))
        self._take(*self._place(event.facts))

    def _expect_at(self, letter: str, event: RecordedEvent, extra: str = "") -> None:
        self._expect(fold_waits.code_of(letter, self._place(event.facts), extra))

    def _expect(self, code: str) -> None:
        if not self._expected or self._expected.popleft() != code:
            raise Corrupt(f"the rules say otherwise than {code!r}")

    def _run_halted(self, event: RecordedEvent) -> None:
        if event.facts.reason in DAMAGES:
            self.halted_from = self.halted_from or self.marking.phase
        elif self.marking.counter or not self.marking.unfinished:
            raise Corrupt("halted without a half-filled join or an open map")
        self.marking.phase = RunPhase.HALTED

    def _run_migrated(self, event: RecordedEvent) -> None:
        """From here on another version says what comes; what was kept has the same numbers there."""
        self.ir = move_marking(self.marking, self.ir, self._irs.get(ir_told(event.facts)))
        self._numbers = {node.id: number for number, node in enumerate(self.ir.nodes)}

    def _run_rebuilt(self, _event: RecordedEvent) -> None:
        if self.halted_from is None:
            raise Corrupt("nothing of it was damaged")
        self.marking.phase, self.halted_from = self.halted_from, None

    def _run_ended(self, event: RecordedEvent) -> None:
        if self._expected:
            raise Corrupt(f"{self._expected[0]!r} is missing")
        if self.marking.counter:
            raise Corrupt(f"the run ended with {self.marking.counter} living tokens")
        if self.marking.phase in GOES_ON and self.marking.unfinished:
            raise Corrupt("the run ended with a half-filled join or an open map")
        check_end(self.marking.reason, event.facts)
        if not self.marking.reason:
            self._keep_first_error(event.facts)
        self.marking.phase = RunPhase.ENDED
        self.status = FINAL[event.facts.type]

    _HANDLERS: ClassVar[dict[str, Callable[[Folder, RecordedEvent], None]]] = {
        "run.started": _run_started,
        "run.entered": _run_entered,
        "run.swept": _run_swept,
        "run.halted": _run_halted,
        MIGRATED: _run_migrated,
        "run.rebuilt": _run_rebuilt,
        "step.succeeded": _step_succeeded,
        "step.input_kept": _step_input_kept,
        "step.skipped": _step_skipped,
        "step.failed": _step_failed,
        "step.waiting": _step_waiting,
        "path.died": _path_died,
        "gate.passed": lambda self, event: self._settle(event, taken(self._node(event.facts), self.ir.edges)),
        "effects.continued": _effects_continued,
        "timer.set": _timer_set,
        "timer.released": lambda self, event: fold_waits.timer_released(self.marking, self._place(event.facts)),
        "token.withdrawn": _token_gone,
        "token.dropped": _token_gone,
        "join.fired": lambda self, event: self._expect_at("F", event, f":{event.facts.data.get('live')}"),
        "join.died": lambda self, event: self._expect_at("D", event, ":f" if event.facts.reason == "failed" else ":d"),
        "join.dropped": lambda self, event: fold_maps.join_dropped(self.ir, self.marking, event.facts, self._numbers),
        "fanout.continued": _map_goes_on,
        "fanout.collected": _map_goes_on,
        "fanout.swept": _map_goes_on,
        "fanout.completed": lambda self, event: self._expect_at("I", event, f":{event.facts.data.get('live')}"),
        "fanout.dropped": lambda self, event: fold_maps.map_dropped(self.ir, self.marking, self._step(event.facts)),
        "fanout.closed": lambda self, event: self._expect_at("A", event),
        "step.retried": _step_retried,
        "approval.granted": lambda self, event: fold_waits.approval_granted(self._living(event, TokenKind.NORMAL)),
        "approval.escalated": lambda self, event: fold_waits.approval_escalated(self._any(event)),
        "command.applied": _command_applied,
        "command.ignored": lambda self, _event: self._expect("N"),
        "compensation.started": lambda self, event: fold_waits.compensation_started(
            self.ir, self.marking, self._step(event.facts)
        ),
        "closing.released": lambda self, _event: self._expect("B"),
        "mutex.granted": lambda self, event: self._expect_at("G", event),
        "budget.granted": lambda self, event: fold_waits.answered(self.marking, self._place(event.facts), event.facts),
        "budget.refused": lambda self, event: fold_waits.answered(self.marking, self._place(event.facts), event.facts),
        "slot.granted": lambda self, event: fold_waits.slot_granted(self.marking, self._place(event.facts)),
        "run.draining": _run_draining,
        "run.compensated": lambda self, _event: fold_waits.run_compensated(self.marking),
        "run.woken": _run_woken,
        "step.withdrawn": lambda self, event: self._expect_at("V", event),
        "token.claimed": lambda self, event: fold_waits.token_claimed(self._any(event), event.facts),
        "token.forced": lambda self, event: self._expect_at("J", event),
        "token.overdue": lambda self, event: waiting.overdue(self.marking, self._place(event.facts)),
        "token.released": _token_released,
        **dict.fromkeys(fold_restart.TYPES, _restored),
    }
    """What an event does; made once, because a recovery folds many thousand runs."""
