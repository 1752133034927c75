"""The oracle: what the log of a run says of its steps, asked when the run is enacted again (``reenacting``). Pure.

``Memory`` hears the events of a run that has ended, in order; ``oracle`` is what it has learnt. It keeps the outputs of
all steps, also those that the run itself had forgotten, as they stand in the log: large ones as references.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import msgspec

from ...compiler.ir import Ir
from ..events import RecordedEvent
from ..fold.cuts import Ending, Settled, numbers_of, place_of, settled_by
from ..fold.fold import Folder
from ..fold.migrated import MIGRATED
from ..marking.marking import GOES_ON
from ..marking.rules import reaches_milestones
from ..marking.scopes import Scope
from .restarting import GIVEN

At: TypeAlias = tuple[int, Scope]


class Answer(NamedTuple):
    """What became of a step. ``seq``: when, among the others. ``error``: JSON bytes."""

    seq: int
    settled: Settled
    error: bytes | None = None


@dataclass(frozen=True)
class Oracle:
    """``seq``, ``at_ms``: of the last event. ``gates``: when gates were passed. ``parked``: since when steps have
    waited that others run only beside. ``results``: of chunks of maps. ``signals``: that came and nobody waited for.
    ``forced``: steps that somebody has brought to their end. ``emptied``: steps whose output or input is not stored any
    more. ``undone``: steps whose compensation has begun. ``done_by``: the IR by which a step was done, where the run
    has moved to another one since. ``has_input``: false where the input of the run is not stored any more.
    """

    run_id: str = ""
    seq: int = 0
    at_ms: int = 0
    input: bytes = b"null"
    answers: Mapping[At, Answer] = field(default_factory=dict[At, Answer])
    inputs: Mapping[At, bytes] = field(default_factory=dict[At, bytes])
    gates: Mapping[At, int] = field(default_factory=dict[At, int])
    parked: Mapping[At, int] = field(default_factory=dict[At, int])
    results: Mapping[At, bytes] = field(default_factory=dict[At, bytes])
    signals: Mapping[str, list[tuple[int, bytes]]] = field(default_factory=dict[str, "list[tuple[int, bytes]]"])
    forced: frozenset[At] = frozenset()
    emptied: frozenset[At] = frozenset()
    undone: tuple[At, ...] = ()
    done_by: Mapping[At, Ir] = field(default_factory=dict[At, Ir])
    has_input: bool = True


class Memory:
    """``add`` all events of a run, then ask for its ``oracle``. ir, irs: see ``Folder``.

    Where the run has moved to another version, its places are those of the last one. hears_ending: in the same fold it
    finds out how the run came to its end, ``ending``, and keeps what ``settled_at`` tells.
    """

    def __init__(self, ir: Ir, irs: Mapping[str, Ir] | None = None, *, hears_ending: bool = False) -> None:
        self._folder = Folder(ir, irs=irs)
        self.ending = Ending(ir, irs or {}, self._folder) if hears_ending else None
        self._settled: list[tuple[int, At, Settled]] = []
        self._numbers = numbers_of(ir)
        self._answers: dict[At, Answer] = {}
        self._inputs: dict[At, bytes] = {}
        self._gates: dict[At, int] = {}
        self._parked: dict[At, int] = {}
        self._results: dict[At, bytes] = {}
        self._outputs: dict[At, bytes] = {}
        self._emptied: set[At] = set()
        self._withdrawn: set[At] = set()
        self._forced: set[At] = set()
        self._undone: list[At] = []
        self._done_by: dict[At, Ir] = {}
        self._has_input = True
        self._run_id, self._at_ms = "", 0

    def add(self, event: RecordedEvent) -> None:
        """Raises Corrupt."""
        goes_on, ir = self._folder.marking.phase in GOES_ON, self._folder.ir
        is_alone = self.ending is not None and self.ending.is_alone(event)
        self._folder.add(event)
        if self.ending is not None:
            self.ending.hear(event, is_alone=is_alone)
        facts = event.facts
        if facts.type == "run.started":
            self._has_input = event.payload is not None
        elif facts.type == MIGRATED:
            self._done_by = dict.fromkeys(self._answers, ir) | self._done_by
            self._numbers = numbers_of(self._folder.ir)
        self._run_id, self._at_ms = event.run_id, event.at_ms
        at = place_of(self._numbers, facts)
        if at is None:
            return
        settled = settled_by(facts, is_withdrawn=at in self._withdrawn, has_waited=at in self._parked)
        if settled is not None:
            if self.ending is not None:
                self._settled.append((event.seq, at, settled))
            if settled.has_waited:
                self._parked.setdefault(at, event.seq)
            if goes_on or settled.status == "SUCCEEDED":  # what fails while the run drains was cancelled
                self._settle(at, settled, event)
            return
        self._hear(at, event)

    def _settle(self, at: At, settled: Settled, event: RecordedEvent) -> None:
        if event.payload is not None:
            self._outputs[at] = event.payload
        if settled.status == "SUCCEEDED":
            if at not in self._outputs:
                self._emptied.add(at)
            reason = "" if settled.reason == GIVEN else settled.reason  # here it is an output as any other
            settled = settled._replace(output=self._outputs.get(at), reason=reason)
        told = event.facts.error
        error = None if told is None else msgspec.json.encode(told)
        self._answers[at] = Answer(event.seq, settled, error)

    def _hear(self, at: At, event: RecordedEvent) -> None:
        facts, payload, node = event.facts, event.payload, self._folder.ir.nodes[at[0]]
        match facts.type:
            case "step.input_kept":
                if payload is None:
                    self._emptied.add(at)
                else:
                    self._inputs[at] = payload
            case "step.withdrawn":
                self._withdrawn.add(at)
            case "token.forced":
                self._forced.add(at)
            case "gate.passed":
                self._gates[at] = event.seq
            case "step.waiting":
                if payload is not None and facts.reason == "more":
                    self._outputs[at] = payload
                if reaches_milestones(node, facts.reason):
                    self._parked.setdefault(at, event.seq)
            case "fanout.collected" | "fanout.restored":
                chunk = facts.data.get("chunk")
                if payload is not None and isinstance(chunk, int):
                    self._results[self._folder.ir.regions[node.map_region].node, (*at[1], chunk)] = payload
            case "compensation.started":
                self._undone.append(at)
            case "value.restored" | "token.restored":
                self._restore(at, event)
            case _:
                pass

    def _restore(self, at: At, event: RecordedEvent) -> None:
        """A step had ended in the base of this run, and its effects went on in this one."""
        facts = event.facts
        ended = facts.data.get("ended")
        if facts.data.get("output") and event.payload is not None:
            self._outputs[at] = event.payload
        elif facts.type == "value.restored" and ended:
            self._settle(at, Settled(str(ended), 1, ""), _without_payload(event))
        elif facts.data.get("kind") == "c":
            decision = str(facts.data.get("extra", "")).partition(".")[2]
            known = self._answers.get(at) or Answer(event.seq, Settled("SUCCEEDED", 1, ""))
            settled = known.settled._replace(edges=decision, output=self._outputs.get(at))
            self._answers[at] = known._replace(settled=settled)

    def settled_at(self, seq: int) -> dict[At, Settled]:
        """Return what was settled after event ``seq``, as ``Cut.settled`` has it, but for what steps gave."""
        return {at: settled for number, at, settled in self._settled if number <= seq}

    def oracle(self) -> Oracle:
        marking = self._folder.marking
        return Oracle(
            run_id=self._run_id,
            seq=marking.seq,
            at_ms=self._at_ms,
            input=marking.input,
            answers=self._answers,
            inputs=self._inputs,
            gates=self._gates,
            parked=self._parked,
            results=self._results,
            signals={name: [*kept] for name, kept in marking.signals.items()},
            forced=frozenset(self._forced),
            emptied=frozenset(self._emptied),
            undone=tuple(self._undone),
            done_by=self._done_by,
            has_input=self._has_input,
        )


def ask(ir: Ir, events: Iterable[RecordedEvent], irs: Mapping[str, Ir] | None = None) -> Oracle:
    """Return the oracle of a run from all of its events. Raises Corrupt."""
    memory = Memory(ir, irs)
    for event in events:
        memory.add(event)
    return memory.oracle()


def _without_payload(event: RecordedEvent) -> RecordedEvent:
    return msgspec.structs.replace(event, payload=None)
