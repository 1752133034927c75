"""A simulation: one run, driven by a seed through whatever may happen to it, and checked after every step.

Who acts is drawn: workers take, work off, crash, come back late and hand in twice; timers ring; people answer, cancel,
withdraw, force, pause and go on; the server forgets everything and is rebuilt from the log. The same seed on the same
floor gives the same trace, byte for byte. The floor is one in memory, or anything that answers as it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from ..compiler.ir import signals_of
from ..runner.transition import Transition
from ..runner.work import Work
from ..sdk.events import Facts, RecordedEvent, encode_blob, encode_facts
from ..sdk.floor.calling import Word
from ..sdk.floor.commanding import RAISE
from ..sdk.floor.restoring import restore
from ..sdk.floor.scripts import Applied
from ..sdk.fold.fold import Folder
from ..sdk.fold.fold_ends import FINAL
from ..sdk.marking.marking import Place, RunPhase, TokenKind
from ..sdk.marking.plan import Plan, context_field
from ..sdk.marking.scopes import parse_token_key, token_key
from ..sdk.outcomes.gates import APPROVAL
from ..sdk.outcomes.outcomes import GivenBack
from ..sdk.outcomes.step_context import StepContext
from ..sdk.outcomes.subflows import ChildStatus
from ..sdk.signal_names import is_child_name
from .budget_row import missing
from .commands import command_of, shown, start_words
from .crew import Crew, Handler
from .floor_calls import Floor
from .invariants import Invariants, Violation
from .told_results import told_results

STEPS_MAX = 20_000
ALL = 10_000
UNRECORDED_MAX = 6
"""Calls whose events may be lost with the server."""
KINDS = {status: kind for kind, status in FINAL.items()}
STATUSES = {"": "COMPLETED", "cancelled": "CANCELLED", "timed_out": "TIMED_OUT", "expired": "TIMED_OUT"}


@dataclass(frozen=True, kw_only=True)
class Chances:
    """How often things happen, as shares of all steps; ``meddling``: commands, each of ``commands`` alike.

    ``losing``: the server forgets everything, the last calls are not in the log yet, and a recovery goes on from there.
    ``recording``: the log has everything until now.
    """

    taking: float = 0.5
    ringing: float = 0.15
    meddling: float = 0.1
    crashing: float = 0.05
    twice: float = 0.1
    stale: float = 0.05
    giving_back: float = 0.05
    commands: tuple[str, ...] = ("pause", "resume", "cancel_step", "force_skip", "force_succeed", "signal", "answer")
    cancelling: float = 0.0
    losing: float = 0.0
    recording: float = 0.0


CALM = Chances(meddling=0.0, crashing=0.0, twice=0.0, stale=0.0, giving_back=0.0)


@dataclass(kw_only=True)
class Simulation:
    """``compares_every``: after how many changes floor and log are held against each other; of large runs that is slow.

    ``held``: what workers have in hand, with its entry; ``lost``: entries of workers that are gone. ``log``: the
    events, call by call, of which the first ``recorded`` cannot be lost.
    """

    plan: Plan
    handler: Handler
    floor: Floor
    seed: int
    input: bytes = b"{}"
    chances: Chances = field(default_factory=Chances)
    run_id: str = "run"
    trace: list[str] = field(default_factory=list[str])
    held: list[tuple[Work, str]] = field(default_factory=list[tuple[Work, str]])
    lost: list[str] = field(default_factory=list[str])
    commands: int = 1
    steps: int = 0
    compares_every: int = 1
    _checks: int = 0
    log: list[list[RecordedEvent]] = field(default_factory=list[list[RecordedEvent]])
    recorded: int = 0
    _sent: list[Applied] = field(default_factory=list[Applied])

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311 - it is there to be repeated
        self._crews, self._irs = [(self.plan, self.handler)], {str(self.plan.hash): self.plan.ir}
        self.folder = Folder(self.plan.ir, irs=self._irs)
        self.invariants = Invariants(self.plan)
        self._use(self.plan, self.handler)

    def _use(self, plan: Plan, handler: Handler) -> None:
        self.plan = self.invariants.plan = plan
        self.crew = Crew(plan, handler, self.floor.look, recorded=self._recorded)
        self._names = sorted({name for node in plan.ir.nodes for name in signals_of(node)})

    def move(self, words: Sequence[Word], plan: Plan, handler: Handler) -> str:
        """Let the run go on with another plan, as ``migrate_words`` says; return the verdict."""
        if (verdict := self.floor.migrate(words, plan)) == "A":
            self._irs[plan.hash] = plan.ir
            self._crews.append((plan, handler))
            self._use(plan, handler)
        self._check()
        return verdict

    def run(self) -> str:
        """Drive the run to its end; return its status. Raises Violation, with the seed and the trace."""
        try:
            self.begin()
            return self.drive()
        except Exception as error:
            last = "\n  ".join(self.trace[-60:])
            raise Violation(f"seed {self.seed}, step {self.steps}: {error!r}\n  {last}") from error

    def begin(self) -> None:
        """Start the run, twice as all that may be lost on the way."""
        words = start_words(self.plan, self.run_id, self.input)
        if not self.floor.start(words) or self.floor.start(words):
            raise Violation("a run starts once")
        self._check()

    def go_on(self, steps: int) -> None:
        """Go on for so many steps, or to the end of what lives."""
        until = min(self.steps + steps, STEPS_MAX)
        while self.steps < until and self.floor.marking().counter:
            self.steps += 1
            self._step()

    def drive(self) -> str:
        """Go on to the end; return the run's status."""
        while True:
            self.go_on(STEPS_MAX)
            if self.floor.marking().counter:
                raise Violation("the run does not end")
            if not self._happens(self.chances.losing):
                break
            self._lose()
        self._settle_lost()
        return self._finish()

    def _step(self) -> None:
        chances = self.chances
        if self._happens(chances.losing):
            self._lose()
        elif self._happens(chances.recording):
            self._record()
        elif self._happens(chances.meddling):
            self._meddle()
        elif self.held and not self._happens(chances.taking):
            self.work_off()
        elif self._happens(chances.ringing) and self._ring():
            pass
        elif not self._take() and not self.held and not self._revive() and not self._ring():
            self._answer()

    def _take(self) -> bool:
        return bool(self.take(ALL))

    def take(self, want: int) -> list[list[bytes]]:
        """Take up to ``want`` tokens into somebody's hands."""
        tokens = self.floor.take(want)
        for token in tokens:
            self._hold(token)
        if tokens:
            self.trace.append(f"take {' '.join(sorted(token[3].decode() for token in tokens))}")
        return tokens

    def _hold(self, token: list[bytes]) -> None:
        self.held.append((self.crew.open(token, self.floor.now_ms()), token[1].decode()))
        self.held.sort(key=lambda each: (parse_token_key(each[0].key), int(each[0].fence), each[0].phase))

    def work_off(self) -> None:
        """Work one token off, with whatever may happen to who has it."""
        chances = self.chances
        work, entry = self.held.pop(self.random.randrange(len(self.held)))
        if self._happens(chances.crashing):
            self.lost.append(entry)
            self.trace.append(f"crash {work.key}")
            if self.random.random() < 0.5:
                return  # else it is only slow, and comes late
        if self._happens(chances.crashing):
            self._claim(entry, work)
            if self.random.random() < 0.5:
                return
        if work.kind is TokenKind.NORMAL and work.number >= 0 and self._happens(chances.giving_back):
            self._hand_in(self.crew.give_back(work, GivenBack(1_000)), "back")
            return
        transition = self.crew.settle(work)
        if self._happens(chances.stale):
            words = list(transition.words)
            words[2] = str(int(str(words[2])) + 1_000)
            self._hand_in(Transition(words, 0), "stale", "SD")
        verdict = self._hand_in(transition, "settle")
        if verdict == "B":
            assert transition.otherwise is not None
            verdict = self._hand_in(transition.otherwise, "spent")
        if self._happens(chances.twice):
            self._hand_in(transition, "again", "SD")

    def _hand_in(self, transition: Transition, what: str, allowed: str = "ADSB") -> str:
        verdict = self.floor.hand_in(transition)
        self.trace.append(f"{what} {transition.words[1]!s} {verdict}")
        if verdict not in allowed:
            raise Violation(f"verdict {verdict} for what {transition.words[1]!r} came to")
        self._check()
        return verdict

    def _claim(self, entry: str, work: Work) -> None:
        """Another takes over what somebody has held for too long."""
        self.trace.append(f"claim {work.key}")
        self.floor.claim(entry)
        self._check()

    def _revive(self) -> bool:
        """What a worker has left behind comes to another one."""
        if not self.lost:
            return False
        entry = self.lost.pop(self.random.randrange(len(self.lost)))
        token = self.floor.reopen(entry)
        self.trace.append(f"revive {'-' if token is None else token[3].decode()}")
        if token is not None:
            self._hold(token)
        return True

    def _lose(self) -> None:
        """The server forgets everything. The log has all but the last calls; what it had before, it keeps.

        Workers go on with what they hold. The start and the commands that the log does not know are given again.
        """
        kept = self.random.randint(max(self.recorded, len(self.log) - UNRECORDED_MAX), len(self.log))
        self.trace.append(f"lose {len(self.log) - kept} of {len(self.log)}")
        self.log, self.recorded = self.log[:kept], kept
        self.folder, self.invariants = Folder(self._crews[0][0].ir, irs=self._irs), Invariants(self.plan)
        for event in (event for call in self.log for event in call):
            self.folder.add(event)
            self.invariants.add(event)
        self._use(*next(crew for crew in self._crews if crew[0].ir is self.folder.ir))
        if not kept:
            self.floor.restore(None)
            self.begin()
        else:
            self.floor.restore(restore(self.run_id, self.plan, self.folder.marking, is_logged=True))
            self._check()
        for command in self._sent[self.folder.marking.command - 1 :]:
            self._give(command)

    def _recorded(self, step: StepContext) -> dict[int, bytes]:
        return told_results(step, (event for call in self.log[: self.recorded] for event in call))

    def _record(self) -> None:
        """The log has everything, for good; results of maps that it has told leave the floor."""
        self.recorded = len(self.log)
        self.trace.append(f"record {self.recorded}")
        self.floor.let_go([context_field("r", *at) for at in self.folder.marking.results])

    def _settle_lost(self) -> None:
        for entry in self.lost:
            if self.floor.reopen(entry) is not None:
                raise Violation("a token is handed out after the end")

    def _ring(self) -> bool:
        names = sorted(self.floor.due())
        if not names:
            return False
        name = names[self.random.randrange(len(names))]
        came = self.floor.ring(name)
        self.trace.append(f"ring {name} {came}")
        self._check()
        return True

    def _meddle(self) -> None:
        if self._happens(self.chances.cancelling):
            self.send("cancel")
            return
        kind = self.random.choice(self.chances.commands)
        living = sorted(self.floor.marking().tokens)
        key = token_key(*self.random.choice(living))
        if kind in ("answer", RAISE):
            self._answer_one()
        elif kind == "signal":
            if self._names:
                self.send("signal", name=self.random.choice(self._names))
        elif kind in ("pause", "resume"):
            self.send(kind)
        else:
            self.send(kind, key=key)

    def _answer(self) -> None:
        """Nothing moves any more: somebody must do something."""
        if self.floor.marking().phase is RunPhase.PAUSED:
            self.send("resume")
        elif not self._answer_one():
            raise Violation("nothing moves, and nothing is waited for: the run hangs")

    def _answer_one(self) -> bool:
        waiting = sorted(at for at, token in self.floor.marking().tokens.items() if token.place is Place.SIGNAL)
        if not waiting:
            amount = missing(self.floor.marking())
            return bool(amount) and bool(self.send(RAISE, name=amount))
        at = self.random.choice(waiting)
        name = self.random.choice(self.floor.marking().tokens[at].waits)
        kind = "signal"
        if name.startswith(f"!{APPROVAL}"):
            kind = self.random.choice(("approve", "approve", "reject"))
        elif is_child_name(name):
            kind = "child_ended"
        elif name.startswith("!"):
            kind = self.random.choice(("complete", "fail"))
        self.send(kind, key=token_key(*at), name=name)
        return True

    def send(self, kind: str, *, key: str = "", name: str = "") -> str:
        """Send a command; return its verdict."""
        value = self._value(kind, key)
        command = command_of(self.plan, self.run_id, self.commands + 1, kind, key=key, name=name, value=value)
        self.commands += 1
        if self._happens(self.chances.twice):
            late = command._replace(number=command.number + 1)
            assert self.floor.command(late) == "G"
        self._sent.append(command)
        self.trace.append(f"send {kind} {key}".rstrip())
        verdict = self._give(command)
        if self._happens(self.chances.twice):
            assert self.floor.command(command) == "D"
            self._check()
        return verdict

    def _give(self, command: Applied) -> str:
        verdict = self.floor.command(command)
        self.trace.append(f"{command.kind} {command.token} {command.name} {verdict}")
        if verdict not in "AN":
            raise Violation(f"verdict {verdict} for a command {command.kind}")
        self._check()
        return verdict

    def _value(self, kind: str, key: str) -> object:
        match kind:
            case "approve" | "reject":
                return {"decision": kind, "by": "sim"}
            case "complete" | "force_succeed":
                return {"outcome": "succeeded", "output": {"ok": True}, "by": "sim"}
            case "child_ended":
                status = self.random.choice(tuple(ChildStatus))
                return {"run_id": "run_child", "status": str(status), "output": {"ok": True}, "error": "it says so"}
            case "fail":
                return {"outcome": "failed", "error": "it says so", "by": "sim"}
            case "force_skip":
                return {"outcome": "skipped", "by": "sim"}
            case "signal":
                return {"ok": True, "key": key}
            case _:
                return None

    def _finish(self) -> str:
        marking = self.floor.marking()
        status = STATUSES.get(marking.reason, "FAILED")
        if marking.phase is RunPhase.HALTED:
            raise Violation("the run is halted")
        blob = encode_blob([(encode_facts(Facts(type=KINDS[status])), b"null")])
        assert self.floor.finish(status, blob, b"")
        assert not self.floor.finish(status, blob, b"")
        self._check()
        self.invariants.end(self.floor.marking(), self.floor.zeros())
        assert self.folder.status == status
        return status

    def _check(self) -> None:
        if events := self.floor.events():
            self.log.append(events)
        for event in events:
            self.trace.append(f"  {shown(event)}")
            self.folder.add(event)
            self.invariants.add(event)
        self._checks += 1
        if self._checks % self.compares_every == 0:
            self.invariants.check(self.floor.marking(), self.folder.marking)

    def _happens(self, share: float) -> bool:
        return share > 0 and self.random.random() < share
