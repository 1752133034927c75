"""Rehearsals: a whole run in memory, by the engine's own rules, with stand-ins for its steps and its people.

The clock is simulated: a wait of days takes no time, and everything happens in the order of its times. Nothing is
random but faults, and those come from the seed: the same rehearsal gives the same events.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from ..compiler.analysis import compile_workflow
from ..compiler.diagnostics import Diagnostic, Severity
from ..compiler.ir import Ir, encode_ir, ir_hash
from ..compiler.normalize import read_document
from ..compiler.source import load_source
from ..compiler.source_error import SourceError
from ..compiler.subflows import SUBFLOW
from ..runner.work import Work
from ..sdk.events import ErrorInfo, Facts, RecordedEvent, encode_blob, encode_facts
from ..sdk.fold_ends import FINAL
from ..sdk.json_values import encode_value
from ..sdk.plan import Plan
from ..sdk.run_output import OutputError, run_output
from ..sdk.scopes import parse_scope_key, token_key
from ..sdk.signal_names import approval_name, child_name, outside_name
from ..sdk.steps import Steps
from ..sdk.stores.children import child_run_id
from ..sdk.subflows import CHILD, ChildEnd, ChildStatus
from .child_runs import asked_in, cues_below, end_of, refusal
from .commands import command_of, start_words
from .crew import Crew
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
) -> Rehearsed:
    """Run a workflow in memory and return all that happened.

    document: a value, a path, or the text of a document (text with a line break). mocks: by the id of a node, the name
    of a handler, or a node type: a function, ``attempts(...)``, an exception, or the output itself. registered: where
    handlers are found that have no mock. cues: what people do, and when. workflows: documents by id, for steps of
    type ``subflow`` that have no mock; each child run is rehearsed to its end when its step asks for it.
    Raises ValueError for a document with errors, NotMocked, and Stuck where everybody waits for nobody.
    """
    plan = _plan_of(document)
    plans = {plan.ir.workflow: plan, **{name: _plan_of(each) for name, each in (workflows or {}).items()}}
    with Handlers(mocks or {}, registered, plans) as handlers:
        return _Rehearsal(plan, handlers, cues, faults or Faults(), seed, plans).run(encode_value(input))


@dataclass
class _Held:
    """An attempt in a worker's hands until ``ready_ms``."""

    work: Work
    entry: str
    ready_ms: int


@dataclass
class _Rehearsal:
    plan: Plan
    handlers: Handlers
    cues: Sequence[Cue]
    faults: Faults
    seed: int
    plans: Mapping[str, Plan]
    run_id: str = "run_rehearsal"
    depth: int = 0
    children: list[ChildRehearsed] = field(default_factory=list[ChildRehearsed])
    events: list[RecordedEvent] = field(default_factory=list[RecordedEvent])
    held: list[_Held] = field(default_factory=list[_Held])
    planned: list[tuple[int, int, Say]] = field(default_factory=list[tuple[int, int, Say]])
    commands: int = 1
    said: int = 0

    def __post_init__(self) -> None:
        self.floor = MemoryFloor(self.plan, self.run_id)
        self.crew = Crew(self.plan, self.handlers, self.floor.look, WORKER, frozenset({SUBFLOW}))
        self.random = Random(self.seed)  # noqa: S311 - it is there to be repeated

    @property
    def now_ms(self) -> int:
        return self.floor.now_ms()

    def run(self, given: bytes) -> Rehearsed:
        self.floor.start(start_words(self.plan, self.floor.run.run_id, given))
        began_ms = self.now_ms
        for cue in self.cues:
            if not cue.step:
                self._plan(began_ms + cue.ms, cue.say)
        for _ in range(STEPS_MAX):
            self._listen()
            if not self.floor.marking().counter:
                break
            self._take()
            self._move()
        else:
            raise Stuck(f"the run does not end: {STEPS_MAX:,} steps were made")
        output = self._finish()
        self._listen()
        return collect(self.plan.ir, self.events, output, began_ms, self.children)

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
        """Rehearse the child run that a step asks for; the step is told when it has ended."""
        facts, asked, given = event.facts, asked_in(event), event.payload or b"null"
        step = (facts.node, facts.scope, facts.attempt)
        run_id, plan, depth = child_run_id(self.run_id, self.run_id, *step), self.plans[asked.workflow], self.depth + 1
        told, ms = refusal(plan, given, depth), 0
        end = ChildEnd(run_id=run_id, status=ChildStatus.REFUSED, error=told)
        if not told:
            cues = cues_below(self.cues, facts.node)
            below = _Rehearsal(plan, self.handlers, cues, self.faults, self.seed, self.plans, run_id, depth)
            run = below.run(given)
            self.children.append(ChildRehearsed(step=facts.node, scope=facts.scope, attempt=facts.attempt, run=run))
            end = end_of(run_id, run, is_detached=asked.detached)
            ms = 0 if asked.detached else round(run.elapsed_s * 1000)
        key = token_key(self.plan.node_ids.index(facts.node), parse_scope_key(facts.scope))
        name, data = child_name(key, facts.attempt), msgspec.to_builtins(end)
        say = Say(kind="child_ended", step=facts.node, scope=facts.scope, name=name, data=data, by=f"run:{run_id}")
        self._plan(event.at_ms + ms, say)

    def _take(self) -> None:
        for token in self.floor.take(ALL):
            work = self.crew.open(token, self.now_ms)
            self.crew.prepare(work)
            self.held.append(_Held(work, token[1].decode(), self.now_ms + self.handlers.lasts_ms(work)))

    def _move(self) -> None:
        """Let happen what comes next: a result, a word, or a time."""
        soonest = min(self.held, key=lambda held: held.ready_ms, default=None)
        ready_ms = None if soonest is None else soonest.ready_ms
        said_ms = self.planned[0][0] if self.planned else None
        due = self.floor.due()
        due_ms = self.floor.run.timers[due[0]] if due else None
        times = [at for at in (ready_ms, said_ms, due_ms) if at is not None]
        if not times:
            raise Stuck(f"nothing moves any more: {self._waited_for()}")
        now_ms = min(times)
        self.floor.run.now_ms = max(self.now_ms, now_ms)
        if soonest is not None and ready_ms == now_ms:
            self.held.remove(soonest)
            self._settle(soonest)
        elif said_ms == now_ms:
            self._say(heapq.heappop(self.planned)[2])
        else:
            self.floor.ring(due[0])

    def _settle(self, held: _Held) -> None:
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

    def _waited_for(self) -> str:
        waits = [
            f"step {self.plan.node_ids[number]!r} waits for {', '.join(token.waits)}"
            for (number, _), token in sorted(self.floor.marking().tokens.items())
            if number >= 0 and token.waits
        ]
        return "; ".join(waits) or "the run is paused"

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
    found = read.diagnostics
    ir: Ir | None = None
    if read.workflow is not None:
        ir, below = compile_workflow(read.workflow)
        found = [*found, *below]
    if ir is None or any(each.severity is Severity.ERROR for each in found):
        raise ValueError(_told(found))
    encoded = encode_ir(ir)
    return Plan.load(ir_hash(encoded), encoded)


def _told(diagnostics: Sequence[Diagnostic]) -> str:
    errors = [each for each in diagnostics if each.severity is Severity.ERROR]
    lines = [f"{'.'.join(map(str, each.path))}: {each.message} [{each.code}]" for each in errors]
    return "the document has errors:\n  " + "\n  ".join(lines)
