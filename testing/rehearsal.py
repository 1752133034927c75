"""Rehearsals: a whole run in memory, by the engine's own rules, with stand-ins for its steps and its people.

The clock is simulated: a wait of days takes no time, and everything happens in the order of its times. Nothing is
random but faults, and those come from the seed: the same rehearsal gives the same events.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from ..compiler.analysis import compile_document
from ..compiler.diagnostics import Diagnostic, Severity
from ..compiler.ir import encode_ir, ir_hash
from ..compiler.normalize import read_document
from ..compiler.source import load_source
from ..compiler.source_error import SourceError
from ..compiler.subflows import SUBFLOW
from ..runner.work import Work
from ..sdk.authoring.steps import Steps
from ..sdk.events import ErrorInfo, Facts, RecordedEvent, encode_blob, encode_facts
from ..sdk.fold.fold_ends import FINAL
from ..sdk.json_values import encode_value
from ..sdk.marking.plan import Plan
from ..sdk.marking.scopes import parse_scope_key, token_key
from ..sdk.outcomes.run_output import OutputError, run_output
from ..sdk.outcomes.subflows import CHILD, ChildEnd, ChildStatus
from ..sdk.signal_names import approval_name, child_name, outside_name
from ..sdk.stores.children import child_run_id
from .child_runs import asked_in, cues_below, end_of, refusal
from .commands import command_of, start_words
from .crew import Crew, cached_outputs
from .floor import MemoryFloor
from .handlers import WORKER, Handlers
from .results import ChildRehearsed, Rehearsed, collect
from .script import Cue, Mock, Say

LEASE_MS = 30_000
ALL = 10_000
STEPS_MAX = 100_000
STATUSES = {"": "COMPLETED", "cancelled": "CANCELLED", "timed_out": "TIMED_OUT", "expired": "TIMED_OUT"}
KINDS = {status: kind for kind, status in FINAL.items()}


class Stuck(AssertionError):
    """Nothing moves any more and nothing will: somebody is waited for, and the test has nobody to answer."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Shares of all attempts. ``crashes``: the worker dies after its handler, and another one makes the attempt again
    when the lease is over. ``twice``: a result is handed in again, which must change nothing.
    """

    crashes: float = 0.0
    twice: float = 0.0


def rehearse(
    document: Mapping[str, Any] | Path | str,
    input: Any = None,
    mocks: Mapping[str, Mock] | None = None,
    *,
    cues: Sequence[Cue] = (),
    registered: Steps | None = None,
    faults: Faults | None = None,
    seed: int = 0,
    workflows: Mapping[str, Mapping[str, Any] | Path | str] | None = None,
    cached: Mapping[str, Any] | None = None,
) -> Rehearsed:
    """Run a workflow in memory and return all that happened.

    document: a value, a path, or the text of a document (text with a line break). mocks: by the id of a node, the name
    of a handler, or a node type: a function, ``attempts(...)``, an exception, or the output itself. registered: where
    handlers are found that have no mock. cues: what people do, and when. workflows: documents by id, for steps of
    type ``subflow`` that have no mock; their child runs are rehearsed beside it, on the same clock. cached: outputs
    that were kept, by step. Raises NotMocked, ValueError for a wrong document, and Stuck where all wait for nobody.
    """
    plan = _plan_of(document)
    plans = {plan.ir.workflow: plan, **{name: _plan_of(each) for name, each in (workflows or {}).items()}}
    with Handlers(mocks or {}, registered, plans) as handlers:
        kept = cached_outputs(plan, cached or {})
        return _Rehearsal(plan, handlers, cues, faults or Faults(), seed, plans, kept).run(encode_value(input))


@dataclass
class _Held:
    """An attempt in a worker's hands until ``ready_ms``."""

    work: Work
    entry: str
    ready_ms: int


@dataclass
class _Below:
    """A child run. ``name``: of the signal by which its step is told of its end, and waits for until then."""

    run: _Rehearsal
    facts: Facts
    name: str
    is_detached: bool
    is_told: bool = False
    is_cancelled: bool = False


@dataclass
class _Rehearsal:
    plan: Plan
    handlers: Handlers
    cues: Sequence[Cue]
    faults: Faults
    seed: int
    plans: Mapping[str, Plan]
    cached: Mapping[str, bytes]
    run_id: str = "run_rehearsal"
    depth: int = 0
    below: list[_Below] = field(default_factory=list[_Below])
    is_ended: bool = False
    output: bytes | None = None
    began_ms: int = 0
    events: list[RecordedEvent] = field(default_factory=list[RecordedEvent])
    held: list[_Held] = field(default_factory=list[_Held])
    planned: list[tuple[int, int, Say]] = field(default_factory=list[tuple[int, int, Say]])
    commands: int = 1
    said: int = 0

    def __post_init__(self) -> None:
        self.floor = MemoryFloor(self.plan, self.run_id)
        self.crew = Crew(self.plan, self.handlers, self.floor.look, WORKER, frozenset({SUBFLOW}), self.cached)
        self.random = Random(self.seed)  # noqa: S311 - it is there to be repeated

    @property
    def now_ms(self) -> int:
        return self.floor.now_ms()

    def run(self, given: bytes) -> Rehearsed:
        self.begin(given)
        for _ in range(STEPS_MAX):
            if self.look():
                return self.collect()
            next_ms = self.next_ms()
            if next_ms is None:
                raise Stuck(f"nothing moves any more: {'; '.join(self.waited_for()) or 'the run is paused'}")
            self.move(next_ms)
        raise Stuck(f"the run does not end: {STEPS_MAX:,} steps were made")

    def begin(self, given: bytes) -> None:
        self.floor.start(start_words(self.plan, self.floor.run.run_id, given))
        self.began_ms = self.now_ms
        for cue in self.cues:
            if not cue.step:
                self._plan(self.began_ms + cue.ms, cue.say)

    def look(self) -> bool:
        """Do what takes no time. Whether all is over, also below."""
        if not self.is_ended:
            self._listen()
            if self.floor.marking().counter:
                self._take()
            else:
                self.output = self._finish()
                self._listen()
                self.is_ended = True
        is_over = self.is_ended
        for below in self.below:
            if not (below.is_told or below.is_cancelled or below.is_detached or self._is_awaited(below)):
                below.is_cancelled = True
                below.run.cancel(self.now_ms, by=f"run:{self.run_id}")
            is_over = below.run.look() and is_over
            if below.run.is_ended and not below.is_told:
                self._tell(below)
        return is_over

    def _is_awaited(self, below: _Below) -> bool:
        at = self.plan.node_ids.index(below.facts.node), parse_scope_key(below.facts.scope)
        token = self.floor.marking().tokens.get(at)
        return token is not None and below.name in token.waits

    def _tell(self, below: _Below) -> None:
        """Its step is told of its end, unless it does not wait for that."""
        below.is_told = True
        if not (below.is_detached or below.is_cancelled):
            end = end_of(below.run.run_id, below.run.ended())
            self._plan(max(self.now_ms, below.run.now_ms), _word_of(below.facts, below.name, end))

    def ended(self) -> Rehearsed:
        """What it came to itself, while child runs that nobody waits for may still go on."""
        return collect(self.plan.ir, self.events, self.output, self.began_ms)

    def collect(self) -> Rehearsed:
        children = [
            ChildRehearsed(
                step=below.facts.node,
                scope=below.facts.scope,
                attempt=below.facts.attempt,
                run=below.run.collect(),
            )
            for below in self.below
        ]
        return collect(self.plan.ir, self.events, self.output, self.began_ms, children)

    def _plan(self, due_ms: int, say: Say) -> None:
        self.said += 1
        heapq.heappush(self.planned, (due_ms, self.said, say))

    def _listen(self) -> None:
        """Read what was logged; a step that begins to wait is a cue for some."""
        for event in self.floor.events():
            self.events.append(event)
            if event.facts.type == "step.waiting" and event.facts.reason == CHILD:
                self._begin_child(event)
            if event.facts.type == "step.waiting" and event.facts.reason not in ("timer", "mutex"):
                for cue in self.cues:
                    if cue.step == event.facts.node:
                        say = cue.say if cue.say.step else _about(cue.say, event.facts)
                        self._plan(event.at_ms + cue.ms, say)

    def _begin_child(self, event: RecordedEvent) -> None:
        """Begin the child run that a step asks for; one that is not accepted, or not waited for, is told at once."""
        facts, asked, given = event.facts, asked_in(event), event.payload or b"null"
        step = (facts.node, facts.scope, facts.attempt)
        run_id, plan, depth = child_run_id(self.run_id, self.run_id, *step), self.plans[asked.workflow], self.depth + 1
        key = token_key(self.plan.node_ids.index(facts.node), parse_scope_key(facts.scope))
        name, told = child_name(key, facts.attempt), refusal(plan, given, depth)
        if told:
            end = ChildEnd(run_id=run_id, status=ChildStatus.REFUSED, error=told)
            self._plan(event.at_ms, _word_of(facts, name, end))
            return
        cues = cues_below(self.cues, facts.node)
        run = _Rehearsal(plan, self.handlers, cues, self.faults, self.seed, self.plans, {}, run_id, depth)
        run.floor.run.now_ms = event.at_ms
        run.begin(given)
        self.below.append(_Below(run, facts, name, asked.detached))
        if asked.detached:
            end = ChildEnd(run_id=run_id, status=ChildStatus.STARTED)
            self._plan(event.at_ms, _word_of(facts, name, end))

    def _take(self) -> None:
        for token in self.floor.take(ALL):
            work = self.crew.open(token, self.now_ms)
            self.crew.prepare(work)
            self.held.append(_Held(work, token[1].decode(), self.now_ms + self.handlers.lasts_ms(work)))

    def _times(self) -> list[tuple[int, Callable[[], None]]]:
        """What could come next: a result, something in a child run, a word, a time; at one moment in this order."""
        times: list[tuple[int, Callable[[], None]]] = []
        if not self.is_ended and self.held:
            held = min(self.held, key=lambda held: held.ready_ms)
            times.append((held.ready_ms, partial(self._settle, held)))
        for below in self.below:
            below_ms = below.run.next_ms()
            if below_ms is not None:
                times.append((below_ms, partial(below.run.move, below_ms)))
        if not self.is_ended and self.planned:
            times.append((self.planned[0][0], lambda: self._say(heapq.heappop(self.planned)[2])))
        if not self.is_ended and (due := self.floor.due()):
            times.append((self.floor.run.timers[due[0]], partial(self._ring, due[0])))
        return times

    def next_ms(self) -> int | None:
        return min((at for at, _ in self._times()), default=None)

    def move(self, ms: int) -> None:
        """Let happen what comes next."""
        self.floor.run.now_ms = max(self.now_ms, ms)
        next(happen for at, happen in self._times() if at == ms)()

    def _ring(self, timer: str) -> None:
        self.floor.ring(timer)

    def _settle(self, held: _Held) -> None:
        self.held.remove(held)
        work = held.work
        work.now_ms = self.now_ms
        transition = self.crew.settle(work)
        if self.handlers.missing is not None:
            raise self.handlers.missing
        if work.number >= 0 and work.deliveries < 2 and self.random.random() < self.faults.crashes:
            self.floor.run.now_ms += LEASE_MS
            self.floor.claim(held.entry)
            return
        if self.floor.hand_in(transition) == "B":
            assert transition.otherwise is not None
            self.floor.hand_in(transition.otherwise)
        if self.random.random() < self.faults.twice:
            assert self.floor.hand_in(transition) in "DS"

    def _say(self, say: Say) -> None:
        key, attempt = self._token_of(say)
        value: Any = say.data
        name = say.name
        if say.kind in ("approve", "reject"):
            name = approval_name(key)
            value = {"decision": say.kind, "by": say.by, "comment": say.reason, "reason": say.reason, "data": say.data}
        elif say.kind in ("complete", "fail", "force_succeed", "force_skip"):
            name = outside_name(key, attempt) if say.kind in ("complete", "fail") else ""
            outcome = {"fail": "failed", "force_skip": "skipped"}.get(say.kind, "succeeded")
            value = {"outcome": outcome, "output": say.data, "error": say.reason, "reason": say.reason, "by": say.by}
        self.commands += 1
        self.floor.command(
            command_of(
                self.plan,
                self.floor.run.run_id,
                self.commands,
                say.kind,
                key=key,
                name=name,
                value=msgspec.to_builtins(value),
            )
        )

    def _token_of(self, say: Say) -> tuple[str, int]:
        """The token that a word is about, and its attempt."""
        if not say.step:
            return "", 0
        if say.step not in self.plan.node_ids:
            raise ValueError(f"there is no step {say.step!r} to {say.kind}")
        at = (self.plan.node_ids.index(say.step), parse_scope_key(say.scope))
        token = self.floor.marking().tokens.get(at)
        return token_key(*at), 1 if token is None else token.attempt

    def cancel(self, now_ms: int, by: str) -> None:
        self.floor.run.now_ms = max(self.now_ms, now_ms)
        self._say(Say(kind="cancel", by=by))

    def waited_for(self) -> list[str]:
        waits = [
            f"step {self.plan.node_ids[number]!r} waits for {', '.join(token.waits)}"
            for (number, _), token in sorted(self.floor.marking().tokens.items())
            if number >= 0 and token.waits
        ]
        return [*waits, *(wait for below in self.below for wait in below.run.waited_for())]

    def _finish(self) -> bytes | None:
        marking = self.floor.marking()
        status = STATUSES.get(marking.reason, "FAILED")
        error = None if marking.error is None else msgspec.json.decode(marking.error, type=ErrorInfo)
        output = None
        if status == "COMPLETED":
            values = [self.floor.run.value(name) for name in self.plan.output_reads()]
            try:
                output = run_output(self.plan, values, self.floor.run.run_id)
            except OutputError as problem:
                status, error = "FAILED", ErrorInfo(type="OUTPUT_ERROR", message=str(problem))
        facts = Facts(type=KINDS[status], error=None if output is not None else error)
        failure = b"" if error is None else msgspec.json.encode(error)
        self.floor.finish(status, encode_blob([(encode_facts(facts), output)]), failure)
        return output


def _word_of(facts: Facts, name: str, end: ChildEnd) -> Say:
    """What the step of a child run is told."""
    data = msgspec.to_builtins(end)
    return Say(kind="child_ended", step=facts.node, scope=facts.scope, name=name, data=data, by=f"run:{end.run_id}")


def _about(say: Say, facts: Facts) -> Say:
    return Say(
        kind=say.kind,
        step=facts.node,
        scope=facts.scope,
        name=say.name,
        data=say.data,
        by=say.by,
        reason=say.reason,
    )


def _plan_of(document: Mapping[str, Any] | Path | str) -> Plan:
    if isinstance(document, str) and "\n" not in document:
        document = Path(document)
    content = document.read_bytes() if isinstance(document, Path) else document
    try:
        value = load_source(content).value if isinstance(content, (str, bytes)) else dict(content)
        read = read_document(value)
    except SourceError as error:
        raise ValueError(_told(error.diagnostics)) from error
    ir, found = compile_document(read)
    if ir is None:
        raise ValueError(_told(found))
    encoded = encode_ir(ir)
    return Plan.load(ir_hash(encoded), encoded)


def _told(diagnostics: Sequence[Diagnostic]) -> str:
    errors = [each for each in diagnostics if each.severity is Severity.ERROR]
    lines = [f"{'.'.join(map(str, each.path))}: {each.message} [{each.code}]" for each in errors]
    return "the document has errors:\n  " + "\n  ".join(lines)
