"""Leases as a state machine: two workers and a supervisor, held against a model of one line per token.

A token is queued, or held by whoever was given it last, or gone. Whatever was given to somebody stays in his hands for
ever here, as in those of a zombie, and he may renew it, settle it or give it back at any time: only the last one of a
living token changes anything.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from courante.runner.settling import Settler
from courante.runner.work import read_token
from courante.sdk.floor.calling import Word
from courante.sdk.floor.live_marking import read_marking
from courante.sdk.floor.repairs import audit_runs
from courante.sdk.floor.scripts import QUEUE_GROUP, claim_tokens, release_timers, renew_leases
from courante.sdk.floor.starting import apply_starts
from courante.sdk.fold.fold import fold
from courante.sdk.keys import Keys
from courante.sdk.outcomes.node_code import compile_node
from courante.sdk.outcomes.outcomes import GivenBack, Succeeded
from courante.sdk.stores.commands import StartCommand
from model.agreement import agree
from model.compiled import plan_of
from model.first_tests import node
from model.hands import Hands

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from redis import Redis as BlockingRedis

    from courante.runner.transition import Transition
    from model.live_floor import LiveFloor

T = TypeVar("T")
PLAN = plan_of({"courante": 1, "id": "t", "nodes": [node("a")]})
RUNS = ("r1", "r2", "r3")
LEASE_MS = 1_000_000
PLACES = st.integers(0, 50)
"""Which of those there are, counted round."""


@dataclass
class Line:
    """What the model knows of a token. ``holder``: number of the handout, None while it is queued."""

    is_alive: bool = True
    deliveries: int = 0
    holder: int | None = None
    is_stale: bool = False

    def requeue(self) -> None:
        self.deliveries += 1
        self.holder, self.is_stale = None, False


class LeaseMachine(RuleBasedStateMachine):
    """``floor`` and ``blocking``: where it runs; given by who runs it, in a class of his own."""

    floor: ClassVar[LiveFloor]
    blocking: ClassVar[BlockingRedis]

    @initialize()
    def start(self) -> None:
        first = Hands(self.floor.redis, Keys(f"t{secrets.token_hex(6)}"))
        self._await(first.open())
        self.workers = first, replace(first, consumer="other")
        self.lines = {run_id: Line() for run_id in RUNS}
        self.handouts: list[tuple[Hands, list[bytes]]] = []
        starts = [(start_of(first, run_id), PLAN) for run_id in RUNS]
        self._await(apply_starts(first.redis, first.keys, first.at, starts, outbox_hard_max=100_000))

    def _await(self, what: Coroutine[Any, Any, T]) -> T:
        return self.floor.runner.run(what)

    def _handout(self, at: int) -> tuple[int, Hands, list[bytes], Line]:
        number = at % len(self.handouts)
        hands, token = self.handouts[number]
        return number, hands, token, self.lines[token[2].decode()]

    def _held(self) -> list[str]:
        return [run_id for run_id, line in self.lines.items() if line.is_alive and line.holder is not None]

    @rule(worker=st.integers(0, 1))
    def take(self, worker: int) -> None:
        """A worker asks for one token."""
        hands = self.workers[worker]
        queued = {run_id for run_id, line in self.lines.items() if line.is_alive and line.holder is None}
        tokens = self._await(hands.advance(want=1)).tokens
        assert len(tokens) == min(1, len(queued))
        for token in tokens:
            run_id = token[2].decode()
            assert run_id in queued
            self.lines[run_id].holder = len(self.handouts)
            self.handouts.append((hands, token))

    @precondition(lambda self: self._held())
    @rule(at=PLACES)
    def fall_silent(self, at: int) -> None:
        """The lease of a held token runs out."""
        run_id = self._held()[at % len(self._held())]
        line = self.lines[run_id]
        assert line.holder is not None
        hands, token = self.handouts[line.holder]
        stream = hands.streams[int(token[0]) - 1]
        words = ("XCLAIM", stream, QUEUE_GROUP, hands.consumer, 0, token[1], "IDLE", 2 * LEASE_MS, "JUSTID")
        self._await(hands.redis.execute_command(*words, parse_justid=True))
        line.is_stale = True

    @rule(supervisors=st.integers(1, 2), limit=st.integers(1, 5))
    def claim(self, supervisors: int, limit: int) -> None:
        """Supervisors take over what is stale, in pages."""
        hands = self.workers[0]
        stale = [line for line in self.lines.values() if line.is_alive and line.holder is not None and line.is_stale]
        claimed = 0
        for _ in range(supervisors):
            start: list[Any] = []
            while True:
                found = self._await(claim_tokens(hands.redis, hands.at, lease_ms=LEASE_MS, limit=limit, start=start))
                assert (found.dropped, found.lost) == (0, 0)
                claimed += found.claimed
                start = found.following
                if not start:
                    break
        assert claimed == len(stale)
        for line in stale:
            line.requeue()

    @precondition(lambda self: self.handouts)
    @rule(at=PLACES)
    def renew(self, at: int) -> None:
        """Somebody renews what he thinks is his."""
        number, hands, token, line = self._handout(at)
        words: list[Word] = [hands.consumer, *token[2:4], token[6].split(b"|")[0], *token[:2], 0, ""]
        verdict = renew_leases(self.blocking, hands.at, hands.streams, words)
        is_his = line.is_alive and line.holder == number
        assert verdict == ("A" if is_his else "S")
        if is_his:
            line.is_stale = False

    @precondition(lambda self: self.handouts)
    @rule(at=PLACES)
    def settle(self, at: int) -> None:
        """Somebody hands in what he has made of a token."""
        number, hands, token, line = self._handout(at)
        work = read_token(token, PLAN)
        work.code = compile_node(PLAN.ir, work.node)
        if self._hand_in(number, hands, line, Settler(hands.consumer).settle(work, Succeeded(b"1"))):
            line.is_alive = False

    @precondition(lambda self: self.handouts)
    @rule(at=PLACES)
    def give_back(self, at: int) -> None:
        """Somebody gives a token back, and it is queued again: that is no takeover."""
        number, hands, token, line = self._handout(at)
        transition = Settler(hands.consumer).give_back(read_token(token, PLAN), GivenBack(0))
        if self._hand_in(number, hands, line, transition):
            released, _ = self._await(release_timers(hands.redis, hands.at, 10))
            assert released == 1
            line.holder, line.is_stale = None, False

    def _hand_in(self, number: int, hands: Hands, line: Line, transition: Transition) -> bool:
        is_his = line.is_alive and line.holder == number
        verdict = self._await(hands.advance([transition])).verdicts
        assert verdict == ("A" if is_his else "S" if line.is_alive else "D")
        return is_his

    @precondition(lambda self: any(line.is_alive for line in self.lines.values()))
    @rule(at=PLACES, takes_pending=st.booleans())
    def meddle(self, at: int, takes_pending: bool) -> None:
        """Somebody deletes an entry, or what is pending of it; the audit makes a new one."""
        hands = self.workers[0]
        living = [run_id for run_id, line in self.lines.items() if line.is_alive]
        run_id = living[at % len(living)]
        line = self.lines[run_id]
        record = self._await(hands.redis.execute_command("HGET", hands.at.run(run_id), "t0")).decode().split("|")
        stream = hands.at.queue(record[5])
        if not takes_pending:
            self._await(hands.redis.execute_command("XDEL", stream, record[3]))
        elif line.holder is None:
            return
        else:
            self._await(hands.redis.execute_command("XACK", stream, QUEUE_GROUP, record[3]))
        found = self._await(audit_runs(hands.redis, hands.at, RUNS))
        assert (found.seen, found.requeued, found.timed, found.halted) == (3, 1, 0, [])
        line.requeue()

    @invariant()
    def there_is_one_entry_to_each_token(self) -> None:
        hands = self.workers[0]
        for run_id, line in self.lines.items():
            record = self._await(hands.redis.execute_command("HGET", hands.at.run(run_id), "t0"))
            assert (record is not None) == line.is_alive
            if record is not None:
                assert record.decode().split("|")[1:3] == ["q", str(line.deliveries)]
        assert sum(self._await(hands.lengths())) == sum(line.is_alive for line in self.lines.values())
        assert sum(self._await(hands.pending())) == len(self._held())

    def teardown(self) -> None:
        """The log says the same as Redis, of every run."""
        for run_id in self.lines if hasattr(self, "lines") else ():
            reader = replace(self.workers[0])
            events = self._await(reader.events(PLAN.node_ids, run_id))
            live = self._await(read_marking(reader.redis, reader.at, run_id))
            assert live is not None
            agree(live, fold(PLAN.ir, events), PLAN)


def start_of(hands: Hands, run_id: str) -> StartCommand:
    env, ir_hash = hands.keys.env, PLAN.hash
    return StartCommand(env=env, run_id=run_id, partition=0, workflow="t", version=1, ir_hash=ir_hash, input=b"{}")
