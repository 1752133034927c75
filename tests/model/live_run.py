"""One run on a real Redis, walked by hand: take, settle, release, with whatever a network and a crash do to calls.

After every transition three states must be one: the keys in Redis, the fold of the outbox, and the pure rules.
``deliver`` does all of it for one token, with faults drawn at random; a state machine takes the single steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Protocol

from courante.runner.settling import Settler
from courante.runner.transition import Transition
from courante.runner.work import Work, read_token
from courante.sdk.events import ErrorInfo, Facts, encode_blob, encode_facts
from courante.sdk.floor.calling import Word
from courante.sdk.floor.live_marking import read_marking
from courante.sdk.floor.scripts import DONE_GROUP, finish_runs, release_timers
from courante.sdk.floor.starting import apply_starts
from courante.sdk.fold.fold import Folder
from courante.sdk.fold.fold_ends import FINAL
from courante.sdk.marking.marking import WOKEN, Marking, RunPhase, TokenKind
from courante.sdk.marking.scopes import parse_token_key, scope_text
from courante.sdk.outcomes.node_code import NodeCode, compile_node
from courante.sdk.outcomes.outcomes import Failed, GivenBack, Outcome, Parked, Skipped, Succeeded
from courante.sdk.outcomes.step_context import encode_json
from courante.sdk.stores.commands import StartCommand
from model.agreement import agree, agree_with_rules, expected_sources
from model.hands import ALL, CONSUMER, Found, Hands
from model.losing import lose_and_restore
from model.pure_engine import PureEngine
from model.reading.oracle import Oracle

if TYPE_CHECKING:
    from courante.sdk.marking.plan import Plan
    from model.compiled import Parking
    from model.reading.graph import Graph
    from model.reading.reading import Place, Reading

FAR_MS = 3_600_000
ENTRIES = 2
"""How many parts at the end of ``Hands.state`` are about stream entries."""
ENDS = {status: kind for kind, status in FINAL.items()}


class Speaks(Oracle, Protocol):
    """An oracle that says what a run is given and what handlers return, as JSON values."""

    def input(self) -> dict[str, object]: ...

    def output(self, node: str, scope: str) -> dict[str, object]: ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Held:
    """A token in somebody's hands, by one of its entries."""

    key: str
    by: Hands
    found: Found
    work: Work


@dataclass(kw_only=True)
class LiveRun:
    """``away``: tokens that were given back and wait for their delay.

    ``reads_all``: tokens come by a read of all streams and are opened when chosen; else a call hands them out.

    ``faults``: the share of deliveries at which something is sent twice, late, or with another's fence. ``losses``: of
    those before which Redis loses everything.
    """

    hands: Hands
    run_id: str
    plan: Plan
    graph: Graph
    oracle: Speaks
    reading: Reading
    parking: Parking
    random: Random
    reads_all: bool = True
    faults: float = 0.3
    losses: float = 0.0
    ran: set[Place] = field(default_factory=set["Place"])
    transitions: int = 0
    marking: Marking = field(default_factory=Marking)
    away: set[str] = field(default_factory=set[str])
    _entries: dict[str, list[Found]] = field(default_factory=dict[str, list[Found]])
    _held: dict[Found, tuple[list[bytes], int]] = field(default_factory=dict[Found, tuple[list[bytes], int]])
    _settled: dict[str, Found] = field(default_factory=dict[str, Found])
    _taken: dict[tuple[str, str], Found] = field(default_factory=dict[tuple[str, str], Found])
    _lost: list[Found] = field(default_factory=list[Found])
    _code: dict[int, NodeCode] = field(default_factory=dict[int, NodeCode])
    folder: Folder = field(init=False)
    twin: PureEngine = field(init=False)
    _settler: Settler = field(default_factory=lambda: Settler(CONSUMER))

    def __post_init__(self) -> None:
        self.folder = Folder(self.plan.ir)
        self.twin = PureEngine(self.plan.ir, self.oracle, self.parking)

    async def start(self) -> None:
        command = StartCommand(
            env=self.hands.keys.env,
            run_id=self.run_id,
            partition=self.hands.partition,
            workflow=self.plan.ir.workflow,
            version=1,
            ir_hash=self.plan.hash,
            input=encode_json(self.oracle.input()),
        )
        starts = [(command, self.plan)]
        for is_new in (True, False):
            keys, limit = self.hands.keys, self.hands.limits[1]
            assert await apply_starts(self.hands.redis, keys, self.hands.at, starts, outbox_hard_max=limit) == [is_new]
        self.twin.start()
        await self.check()

    async def deliver(self, key: str) -> None:
        """Deliver one token and settle it, or release it where it is parked."""
        if self.losses and self.random.random() < self.losses:
            await self.lose_all()
        if self.is_parked(key):
            await self.release(key)
            return
        held = await self.take(key, is_doubled=self._happens())
        if self._happens():
            await self.give_back(held)
            await self.release(key)
            held = await self.take(key, is_doubled=self._happens())
            await self.announce(held)
        if self._happens():
            await self.refuse_stale(held)
        assert await self.settle(held) == "A"
        if self._happens():
            assert await self.settle(held) != "A"

    def is_parked(self, key: str) -> bool:
        return bool(self.marking.tokens[parse_token_key(key)].due)

    async def take(self, key: str, by: Hands | None = None, *, is_doubled: bool = False) -> Held:
        """Get a queued token into hands. ``is_doubled``: somebody has doubled its entry, which brings nothing.

        Where somebody has its entry, or has lost it, both have it from then on.
        """
        by = by or self.hands
        record = await self.hands.record(self.run_id, key)
        assert record is not None, f"{key} does not live"
        fence = record[0]
        if not self._fitting(key, fence):
            await self._collect(by)
        if not self._fitting(key, fence) and (key, fence) in self._taken:
            self._entries.setdefault(key, []).append(self._taken[key, fence])
        if is_doubled:
            await self._double(by, self._fitting(key, fence)[0], record[2])
        fitting = self._fitting(key, fence)
        assert fitting, f"{key} is queued and was not delivered"
        found = self.random.choice(fitting)
        self._entries[key].remove(found)
        self._taken[key, fence] = found
        token, now_ms = self._held.pop(found, (None, 0))
        if token is None:
            answer = await by.advance(opened=[found])
            assert len(answer.tokens) == 1, f"{key} was not handed out"
            (token,), now_ms = answer.tokens, answer.now_ms
        work = read_token(token, self.plan)
        work.now_ms = now_ms
        assert (work.key, work.fence, work.entry) == (key, found.fence, found.entry)
        return Held(key=key, by=by, found=found, work=work)

    async def _double(self, by: Hands, found: Found, entry: str) -> None:
        """Another entry of a token hands out nothing. entry: its own."""
        await self.hands.knock(found)
        await self._collect(by)
        for double in [one for one in self._fitting(found.token, found.fence) if one.entry != entry]:
            assert (await by.advance(opened=[double])).tokens == [], f"{found.token} was handed out by another entry"
            self._entries[found.token].remove(double)

    async def settle(self, held: Held) -> str:
        """Hand in what a worker makes of the token; return the verdict. It counts if the fence is still the token's."""
        seen = RunPhase(held.work.phase)
        transition = self._transition(held.work)
        before = await self.hands.state(self.run_id)
        record = await self.hands.record(self.run_id, held.key)
        verdict = (await held.by.advance([transition])).verdicts
        assert verdict == ("D" if record is None else "A" if record[0] == held.found.fence else "S"), held.key
        if verdict == "A":
            self._settled[held.key] = held.found
            self.transitions += 1
            self.twin.settle(held.key, seen)
            await self.check()
            return verdict
        after = await self.hands.state(self.run_id)
        kept = len(before) if verdict == "S" else len(before) - ENTRIES
        assert after[:kept] == before[:kept], f"a refused transition ({verdict}) changed something"
        if verdict == "S":
            self._lost.append(held.found)
        return verdict

    async def release(self, key: str) -> None:
        """Let the time of a token come that is parked or was given back."""
        is_parked = self.is_parked(key)
        await self.hands.ring(self.run_id, key)
        released, _ = await release_timers(self.hands.redis, self.hands.at, 1)
        assert released == 1, f"{released} timers released for {key}"
        self.away.discard(key)
        if is_parked:
            self.twin.settle(key, self.marking.phase)
            self.transitions += 1
        await self.check()

    async def give_back(self, held: Held) -> None:
        """Leave the token to another, as who does not know its handler; it is queued again after a delay."""
        answer = await held.by.advance([self._settler.give_back(held.work, GivenBack(FAR_MS))])
        assert answer.verdicts == "A"
        self.away.add(held.key)
        await self.check()

    async def announce(self, held: Held) -> None:
        """A step that runs long says so; its token stays where it is."""
        if held.work.number < 0 or held.work.kind is not TokenKind.NORMAL:
            return
        assert (await held.by.advance([self._settler.announce(held.work)])).verdicts == "A"
        await self.check()

    async def refuse_stale(self, held: Held) -> None:
        """Another's fence: nothing changes, not even the pending entry."""
        transition = self._transition(held.work)
        before = await self.hands.state(self.run_id)
        words = list(transition.words)
        words[2] = str(int(str(words[2])) + self.random.choice((-1, 1)))
        assert (await held.by.advance([Transition(words, transition.writes)])).verdicts == "S"
        assert await self.hands.state(self.run_id) == before, "a stale transition changed something"

    async def lose_all(self) -> None:
        """Nothing is left but the log: what was handed out is void, and what was given back is queued."""
        await lose_and_restore(self.hands, self.run_id, self.plan, self.folder.marking)
        self._entries.clear()
        self._held.clear()
        self.away.clear()
        await self.check()

    async def is_current(self, held: Held) -> bool:
        """Whether the token would still take what its holder makes of it."""
        record = await self.hands.record(self.run_id, held.key)
        return record is not None and record[0] == held.found.fence

    async def repeat(self, by: Hands) -> None:
        """The last call again, by its number. Entries of tokens that are gone may go, and nothing else."""
        before = await self.hands.state(self.run_id)
        await by.repeat()
        after = await self.hands.state(self.run_id)
        assert after[:-ENTRIES] == before[:-ENTRIES], "a repeated call changed something"

    async def zeros(self) -> int:
        """How often it was said that no token lives any more."""
        return int(await self.hands.redis.execute_command("XLEN", self.hands.at.done))

    def forget(self, held: Held) -> None:
        """Who had the token is gone; its entry stays pending until somebody takes it over."""
        self._lost.append(held.found)

    async def redeliver(self, key: str) -> None:
        """A consumed token's entry comes once more: nobody is handed anything, and the entry goes."""
        await self.hands.knock(self._settled[key])
        await self._collect(self.hands, reads_all=True)
        assert (await self.hands.advance(opened=self._entries.pop(key))).tokens == []

    async def check(self) -> None:
        """Hold keys, fold and rules against each other."""
        for event in await self.hands.events(self.plan.node_ids, self.run_id):
            self.folder.add(event)
        live = await read_marking(self.hands.redis, self.hands.at, self.run_id)
        assert live is not None, "the run is unknown"
        self.marking = live
        agree(live, self.folder.marking, self.plan)
        agree_with_rules(live, self.twin.marking)

    async def finish(self) -> str:
        """End the run as a supervisor does, twice; return its status. Nothing of it may be left anywhere."""
        hands, redis = self.hands, self.hands.redis
        await self._collect(hands, reads_all=True)
        left = [*self._lost, *(found for entries in self._entries.values() for found in entries)]
        assert (await hands.advance(opened=left)).tokens == [], "an old entry brought a token"
        assert await hands.lengths() == await hands.pending() == [0] * len(hands.streams)
        assert await redis.execute_command("ZCARD", hands.at.timers) == 0
        done = await redis.xreadgroup(DONE_GROUP, CONSUMER, {hands.at.done: ">"}, count=ALL)
        ((_, entries),) = done
        assert [fields[b"r"].decode() for _, fields in entries] == [self.run_id], "done is said once"
        status = self.twin.status()
        blob = encode_blob([(encode_facts(Facts(type=ENDS[status])), b"null")])
        words: list[Word] = [DONE_GROUP, self.run_id, entries[0][0], b"null", status, 1, blob]
        assert await finish_runs(redis, hands.at, words) == "A"
        assert await finish_runs(redis, hands.at, words) == "E"
        assert await redis.execute_command("XLEN", hands.at.done) == 0
        for event in await hands.events(self.plan.node_ids, self.run_id):
            self.folder.add(event)
        assert self.folder.status == status
        live = await read_marking(redis, hands.at, self.run_id)
        assert live is not None
        assert live.phase is RunPhase.ENDED
        agree(live, self.folder.marking, self.plan)
        return status

    def _happens(self) -> bool:
        return self.random.random() < self.faults

    def _fitting(self, key: str, fence: str) -> list[Found]:
        return [found for found in self._entries.get(key, []) if found.fence == fence]

    async def _collect(self, by: Hands, *, reads_all: bool = False) -> None:
        """Take what is new, by a read or by the answer of a call."""
        if reads_all or self.reads_all:
            for found in await by.read():
                self._entries.setdefault(found.token, []).append(found)
            return
        answer = await by.advance(want=ALL)
        for token in answer.tokens:
            number, entry, run, key, _, _, record, *_ = token
            fence = record.decode().split("|")[0]
            found = Found(int(number), entry.decode(), run.decode(), key.decode(), fence)
            self._held[found] = token, answer.now_ms
            self._entries.setdefault(found.token, []).append(found)

    def _transition(self, work: Work) -> Transition:
        """What a worker would make of it; the outcome is the oracle's."""
        transition = self._settler.settle_engine_token(work)
        return transition or self._settler.settle(work, self._outcome(work))

    def _outcome(self, work: Work) -> Outcome:
        ir, node = self.plan.ir, work.node
        where = scope_text(ir, work.number, work.scope)
        if work.number not in self._code:
            self._code[work.number] = compile_node(ir, node)
        work.code = self._code[work.number]
        if work.code.when is not None and work.evaluate(work.code.when) is False:
            return Skipped()
        if work.extra != WOKEN and self.parking.parks(node.id, where):
            return Parked(f"+{FAR_MS}")
        work.input_bytes()
        expected = expected_sources(self.graph, self.reading, ir, work)
        found = {name: _said_at(value) or expected.get(name) for name, value in work.live_inputs()}
        assert found == expected, f"{node.id} in {where!r} was given {found}, expected {expected}"
        self.ran.add((node.id, where))
        if self.oracle.outcome(node.id, where).ok:
            return Succeeded(encode_json({**self.oracle.output(node.id, where), "at": f"{node.id} {where}"}))
        return Failed(ErrorInfo(type="FatalError", message=f"{node.id} {where}", node=node.id, attempt=work.attempt))


def _said_at(value: bytes) -> str:
    """Where an output or an error says that it comes from; an error of routing says nothing of that."""
    text = value.decode()
    if '"type"' in text and "FatalError" not in text:
        return ""
    mark = '"message":"' if "FatalError" in text else '"at":"'
    return text.partition(mark)[2].partition('"')[0]
