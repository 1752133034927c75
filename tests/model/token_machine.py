"""The tokens of one run as a state machine: two workers, a network that loses answers, and whatever comes twice.

Each rule is one thing that can happen. After each of them the keys in Redis, the fold of the log and the pure rules
are one (``LiveRun.check``), the counter is the number of living tokens, and zero was said once or not at all. At the
end everything is let happen that still can, and the run must be what the naive reading of its graph says.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from courante.sdk.marking.marking import RunPhase
from model.compiled import with_delays
from model.interleave import Driven, compare
from model.live_engine import LiveEngine
from model.live_floor import LiveFloor, chunks_of
from model.reading.draw import documents
from model.reading.graph import Document, from_document
from model.reading.oracle import Seeded

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from model.hands import Hands
    from model.live_run import Held, LiveRun

T = TypeVar("T")

PLACES = st.integers(0, 20)
"""Which of those there are, counted round."""
STEPS_MAX = 2_000


class TokenMachine(RuleBasedStateMachine):
    """``floor``: where it runs; given by who runs it, in a class of his own."""

    floor: ClassVar[LiveFloor]
    live: LiveRun
    workers: tuple[Hands, Hands]

    def __init__(self) -> None:
        super().__init__()
        self._held: list[Held] = []
        self._consumed: list[str] = []
        self._stack = ExitStack()

    @initialize(drawn=documents(), seed=st.integers(0, 10_000))
    def start(self, drawn: Document, seed: int) -> None:
        self._stack.enter_context(chunks_of(seed))
        oracle = Seeded.varied(from_document(drawn), seed)
        self.live = self.floor.begin(with_delays(drawn, seed), oracle, seed, faults=0)
        self.workers = self.live.hands, replace(self.live.hands, consumer="other")
        self._await(self.live.start())

    def _await(self, what: Coroutine[Any, Any, T]) -> T:
        return self.floor.runner.run(what)

    def _living(self) -> list[str]:
        """In the order of the rules' own ledger: a hash in Redis has none."""
        return self.live.twin.living()

    def _waiting(self) -> list[str]:
        """Tokens that a timer has."""
        return [key for key in self._living() if self.live.is_parked(key) or key in self.live.away]

    def _queued(self) -> list[str]:
        return [key for key in self._living() if key not in self._waiting()]

    @precondition(lambda self: self._queued())
    @rule(at=PLACES, worker=st.integers(0, 1), is_doubled=st.booleans(), is_lost=st.booleans())
    def take(self, at: int, worker: int, is_doubled: bool, is_lost: bool) -> None:
        """A worker is handed a token, whether or not another one has it already; the first answer may get lost."""
        by = self.workers[worker]
        by.twice = is_lost
        self._held.append(self._await(self.live.take(_pick(self._queued(), at), by, is_doubled=is_doubled)))
        by.twice = False

    @precondition(lambda self: self._queued())
    @rule(at=PLACES)
    def take_both(self, at: int) -> None:
        """The same token is handed to both, as after a lease that ran out while its holder was only slow."""
        key = _pick(self._queued(), at)
        self._held += [self._await(self.live.take(key, worker)) for worker in self.workers]

    @precondition(lambda self: self._held)
    @rule(at=PLACES, is_lost=st.booleans())
    def settle(self, at: int, is_lost: bool) -> None:
        """A worker hands in what it has; it counts if nobody was faster."""
        held = self._held.pop(at % len(self._held))
        held.by.twice = is_lost
        self._settle(held)
        held.by.twice = False

    @precondition(lambda self: self._queued())
    @rule(at=PLACES, worker=st.integers(0, 1))
    def deliver(self, at: int, worker: int) -> None:
        """The usual case: taken, and handed in at once."""
        self._settle(self._await(self.live.take(_pick(self._queued(), at), self.workers[worker])))

    def _settle(self, held: Held) -> None:
        if self._await(self.live.settle(held)) == "A" and held.key not in self._living():
            self._consumed.append(held.key)

    @precondition(lambda self: self._held)
    @rule(at=PLACES)
    def settle_twice(self, at: int) -> None:
        """As after a crash between the call and its answer: the same transition under a new number."""
        held = self._held.pop(at % len(self._held))
        self._settle(held)
        assert self._await(self.live.settle(held)) != "A"

    @precondition(lambda self: self._waiting())
    @rule(at=PLACES)
    def release(self, at: int) -> None:
        """The time of a token has come."""
        self._await(self.live.release(_pick(self._waiting(), at)))

    @precondition(lambda self: self._held)
    @rule(at=PLACES)
    def give_back(self, at: int) -> None:
        """A worker has no handler for what it was handed."""
        for held in self._fresh(at):
            self._held.remove(held)
            self._await(self.live.give_back(held))

    @precondition(lambda self: self._held)
    @rule(at=PLACES)
    def announce(self, at: int) -> None:
        """A handler runs long."""
        for held in self._fresh(at):
            self._await(self.live.announce(held))

    @precondition(lambda self: self._held)
    @rule(at=PLACES)
    def hand_in_with_another_fence(self, at: int) -> None:
        """As who was handed the token before it was queued again."""
        for held in self._fresh(at):
            self._await(self.live.refuse_stale(held))

    def _fresh(self, at: int) -> list[Held]:
        """One that is held and whose fence is still the token's, if there is any."""
        fresh = [held for held in self._held if self._await(self.live.is_current(held))]
        return [_pick(fresh, at)] if fresh else []

    @precondition(lambda self: self._held)
    @rule(at=PLACES)
    def die(self, at: int) -> None:
        """A worker is gone with what it had."""
        self.live.forget(self._held.pop(at % len(self._held)))

    @precondition(lambda self: self._living())
    @rule()
    def lose_everything(self) -> None:
        """Redis is emptied, and rebuilt from the log; whoever holds a token holds one of the epoch before."""
        self._await(self.live.lose_all())

    @precondition(lambda self: self._consumed and self._living())
    @rule(at=PLACES)
    def redeliver(self, at: int) -> None:
        """The entry of a consumed token comes again."""
        self._await(self.live.redeliver(_pick(self._consumed, at)))

    @precondition(lambda self: self._living() and any(worker.has_called for worker in self.workers))
    @rule(at=PLACES)
    def repeat(self, at: int) -> None:
        """A worker makes its last call again, by its number."""
        worker = _pick([worker for worker in self.workers if worker.has_called], at)
        self._await(self.live.repeat(worker))

    @precondition(lambda self: not self._living())
    @rule(drawn=documents(), seed=st.integers(0, 10_000))
    def start_another(self, drawn: Document, seed: int) -> None:
        """The run is over: what is still in hands comes to nothing, and the next one begins."""
        self._finish()
        self._leave()
        self.start(drawn, seed)

    @invariant()
    def all_states_are_one(self) -> None:
        self._await(self.live.check())
        assert self.live.marking.counter == len(self._living())
        said = self._await(self.live.zeros())
        assert said == (0 if self.live.marking.counter else 1), f"zero was said {said} times"
        assert self.live.marking.phase in (RunPhase.RUNNING, RunPhase.DRAINING)

    def teardown(self) -> None:
        """Let the run come to its end, if it is sound so far, and hold it against the reading."""
        if hasattr(self, "live"):
            if sys.exc_info()[0] is None:
                self._finish()
            self._leave()

    def _leave(self) -> None:
        self._consumed.clear()
        self._stack.close()
        self.floor.leave(self.live)

    def _finish(self) -> None:
        live = self.live
        while self._held:
            self._settle(self._held.pop())
        for _ in range(STEPS_MAX):
            if not self._living():
                break
            for key in self._waiting():
                self._await(live.release(key))
            self.deliver(0, 0)
            self.all_states_are_one()
        compare(LiveEngine(self.floor.runner, live), Driven(), live.graph, live.reading)
        assert self._await(live.finish()) == live.reading.status


def _pick(found: Sequence[T], at: int) -> T:
    return found[at % len(found)]
