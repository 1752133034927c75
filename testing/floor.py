"""A floor in memory: what the scripts do to one run, without Redis. Synchronous, deterministic, and as strict.

Each method is the twin of one script and answers as it does. Who hands something in twice, late or with another's
fence gets the same verdict, and changes as little.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..runner.transition import Transition
from ..sdk.events import RecordedEvent, decode_blob, decode_facts
from ..sdk.floor.calling import Word
from ..sdk.floor.commanding import ASKED
from ..sdk.floor.live_marking import RunHead
from ..sdk.floor.restoring import RestoredRun
from ..sdk.floor.scripts import Applied
from ..sdk.fold.migrated import move_marking
from ..sdk.marking import maps, waiting
from ..sdk.marking.marking import EXPIRED, GOES_ON, PARKS, Marking, Place, RunPhase, TokenKind, with_word
from ..sdk.marking.plan import Plan
from ..sdk.marking.scopes import CLOSING_NODE, WAKER_NODE, parse_token_key, token_key
from ..supervisor.recording.entries import read_code
from .budget_row import answer_row
from .memory_run import ASIDE, BACK, At, Entry, Logged, MemoryRun
from .operations import Operations, code_at, lacks_ground

RUN_TIMERS = {"!timeout": "timed_out", "!expire": "expired"}


class MemoryFloor:
    """One run on a partition of its own."""

    def __init__(self, plan: Plan, run_id: str = "run") -> None:
        self.plan = plan
        self._first, self._plans = str(plan.hash), {str(plan.hash): plan}
        self.run = MemoryRun(run_id=run_id, plan=plan)
        self._read = 0
        self._is_there = False

    def now_ms(self) -> int:
        return self.run.now_ms

    def start(self, words: Sequence[Word]) -> bool:
        """Take the words of one start (lua/start_runs.lua); False where the run is there already."""
        if self._is_there:
            return False
        self._is_there = True
        run = self.run
        run.marking.input = _bytes(words[2])
        run.marking.command, run.marking.started_ms = 1, run.now_ms
        codes: list[str] = []
        Operations(run, None, codes).apply(words[6:])
        self._close(int(words[3]), _bytes(words[4]), codes)
        return True

    def restore(self, restored: RestoredRun | None) -> None:
        """Forget everything, and begin a new epoch with what a recovery makes of the log; None: with nothing."""
        before = self.run
        self.plan = self._plans[RunHead.read(restored.head).ir_hash if restored is not None else self._first]
        if restored is None:
            self.run = MemoryRun(run_id=before.run_id, plan=self.plan, now_ms=before.now_ms, epoch=before.epoch + 1)
            self.run.last_entry = before.last_entry
        else:
            self.run = MemoryRun.restored(restored, self.plan, before)
        self._is_there, self._read = restored is not None, 0

    def take(self, want: int) -> list[list[bytes]]:
        """Hand out up to ``want`` tokens (lua/includes/deliver.lua). Stale entries go on the way."""
        found: list[list[bytes]] = []
        for number in list(self.run.queue):
            if len(found) >= want:
                break
            entry = self.run.queue.pop(number)
            self.run.pending[number] = entry
            token = self.open(entry)
            if token is not None:
                found.append(token)
        return found

    def look(self, fields: list[str]) -> list[bytes | None]:
        """Read fields of the run (lua/look_at_runs.lua)."""
        return [self.run.value(field) for field in fields]

    def let_go(self, fields: list[str]) -> None:
        """Results of maps that the log has go (supervisor/recording/map_results.py)."""
        for field in fields:
            self.run.marking.results.pop(parse_token_key(field[1:]), None)

    def open(self, entry: Entry) -> list[bytes] | None:
        """Open an entry that was delivered; None where its token is gone, was queued again or is put aside."""
        run, phase, at = self.run, self.run.marking.phase, entry.at
        is_current = at in run.marking.tokens and run.fences[at] == entry.fence
        if is_current and phase is RunPhase.PAUSED:
            if run.place_of(at) == "q":
                run.places[at] = ASIDE
        elif is_current and phase not in (RunPhase.ENDED, RunPhase.HALTED):
            head = [b"1", str(entry.number).encode(), run.run_id.encode(), token_key(*at).encode()]
            return [*head, phase.value.encode(), self.plan.hash.encode(), run.record(at), *run.values(at)]  # type: ignore[list-item]  # None, as Redis says it
        if not (is_current and phase is RunPhase.HALTED):
            run.pending.pop(entry.number, None)
        return None

    def reopen(self, entry: str) -> list[bytes] | None:
        """Open an entry again that somebody has been given before."""
        found = self.run.pending.get(int(entry))
        return None if found is None else self.open(found)

    def claim(self, entry: str) -> None:
        """Take over what is in somebody's hands (lua/claim_tokens.lua)."""
        run, found = self.run, self.run.pending.get(int(entry))
        if found is None or run.marking.phase is RunPhase.HALTED:
            return
        del run.pending[found.number]
        at = found.at
        if at not in run.marking.tokens or run.entries.get(at) != found.number or run.place_of(at) != "q":
            return
        run.marking.tokens[at].deliveries += 1
        run.again(at)
        self._close(0, b"", [code_at("K", at, f":{run.marking.tokens[at].deliveries}")])

    def zeros(self) -> int:
        return self.run.zeros

    def hand_in(self, transition: Transition) -> str:
        """Apply one transition; return its verdict (lua/advance.lua)."""
        run, words = self.run, transition.words
        at, fence, number = parse_token_key(str(words[1])), int(words[2]), str(words[4])
        verdict = self._verdict(at, fence, words)
        if verdict == "A" and maps.is_closed(run.marking, self.plan.ir, at) and run.marking.phase in GOES_ON:
            self._drop_below_closed(at)
        elif verdict == "A":
            codes: list[str] = []
            before = run.marking.tokens[at]
            if not Operations(run, at, codes).apply(words[8:]):
                assert run.marking.tokens[at] is before
                run.marking.forget_wait(at, before)
                run.marking.values.pop(at, None)
                run.take(at)
                mutex = self.plan.ir.nodes[at[0]].mutex if at[0] >= 0 else ""
                if mutex and run.marking.phase not in PARKS:
                    waiting.free_mutex(run.marking, at, mutex)
            self._close(int(words[5]), _bytes(words[6]), codes)
        self._settle_slots()
        if number and verdict not in "SCB":
            run.pending.pop(int(number), None)
        return verdict

    def _settle_slots(self) -> None:
        """What was given back goes to those who wait (lua/includes/shares.lua)."""
        run = self.run
        for at in run.slots.settle(run.marking):
            waiting.grant_slot(run.marking, at)
            run.again(at)
            self._close(0, b"", [code_at("g", at)])

    def _drop_below_closed(self, at: At) -> None:
        """A token below a closed map goes without any effect but that its slot is free."""
        run = self.run
        run.marking.forget_wait(at, run.marking.tokens[at])
        run.marking.lose(run.marking.tokens[at])
        run.marking.values.pop(at, None)
        run.take(at)
        codes = [code_at("E", at)]
        mutex = self.plan.ir.nodes[at[0]].mutex
        if mutex:
            freed = waiting.free_mutex(run.marking, at, mutex)
            run.redirect(freed)
            codes += freed
        self._close(0, b"", codes)

    def _verdict(self, at: At, fence: int, words: Sequence[Word]) -> str:
        run = self.run
        if at not in run.marking.tokens:
            return "D"
        if run.marking.phase is RunPhase.ENDED:
            return "E"
        if run.fences[at] != fence:
            return "S"
        if run.marking.phase is RunPhase.HALTED:
            return "C"
        is_dropped = maps.is_closed(run.marking, self.plan.ir, at) and run.marking.phase in GOES_ON
        return "A" if is_dropped or not lacks_ground(run.marking, words[8:]) else "B"

    def command(self, command: Applied) -> str:
        """Apply one command; return its verdict (lua/apply_commands.lua)."""
        marking = self.run.marking
        if not self._is_there:
            return "U"
        if marking.phase is RunPhase.HALTED:
            return "C"
        if command.number <= marking.command:
            return "D"
        if marking.phase is RunPhase.ENDED:
            return "E"
        if command.number > marking.command + 1:
            return "G"
        marking.command = command.number
        codes = self._do(command)
        self._close(command.events, command.blob, codes)
        self._settle_slots()
        return "N" if codes and codes[-1] == "N" else "A"

    def _do(self, command: Applied) -> list[str]:
        run, marking, value = self.run, self.run.marking, _bytes(command.value)
        at = parse_token_key(command.token) if command.token else (-9, ())
        codes: list[str] = ["N"]
        match command.kind:
            case "signal" if marking.phase in PARKS:
                is_asked = command.reason == ASKED
                if not command.token or not waiting.is_late(marking, at, command.name, is_asked=is_asked):
                    codes = waiting.signal(marking, command.name, command.number, value)
            case "force" if marking.phase in PARKS:
                codes = waiting.force(marking, at, value)
            case "withdraw" if marking.phase in GOES_ON:
                codes = marking.withdraw(*at) or ["N"]
            case "cancel" if marking.phase in GOES_ON:
                marking.drain(self.plan.ir, command.reason)
                run.welcome()
                return [f"X{command.reason}"]
            case "pause":
                return waiting.pause(marking)
            case "budget" if marking.phase in PARKS and marking.purse is not None:
                marking.purse.enlarge(*map(int, command.name.split(".")))
                return []
            case "resume":
                return self._resume()
            case _:
                pass
        run.redirect(codes)
        return codes

    def _resume(self) -> list[str]:
        run, waker = self.run, (WAKER_NODE, ())
        is_there = waker in run.marking.tokens
        codes = waiting.resume(run.marking)
        if is_there and not codes:
            run.again(waker)
        run.welcome()
        return codes

    def migrate(self, words: Sequence[Word], plan: Plan) -> str:
        """Let the run go on with another plan; return the verdict (lua/migrate_run.lua)."""
        run, marking = self.run, self.run.marking
        if not self._is_there or marking.phase is RunPhase.HALTED:
            return "H" if self._is_there else "U"
        if self.plan.hash == words[5]:
            return "D"
        if marking.phase not in GOES_ON or not marking.counter:
            return "E"
        if (marking.seq, self.plan.hash) != (words[3], words[4]):
            return "M"
        queued = [at for at in marking.tokens if run.place_of(at) == "q"]
        if any(run.entries[at] in run.pending for at in queued):
            return "B"
        if words[6]:
            self._move(plan, queued, words)
        return "A"

    def _move(self, plan: Plan, queued: Sequence[At], words: Sequence[Word]) -> None:
        run, marking = self.run, self.run.marking
        waited = [at for at, token in marking.tokens.items() if token.place is Place.ROOM]
        move_marking(marking, self.plan.ir, plan.ir)
        self.plan = run.plan = self._plans[plan.hash] = plan
        for at in queued:
            run.queue.pop(run.entries[at])
            run.timers.pop(f"!queue/{token_key(*at)}|{run.fences[at]}", None)
            run.again(at)
        for at in waited:
            if marking.tokens[at].place is not Place.ROOM:
                run.enqueue(at, run.fences[at])
        following = 12 + int(words[11])
        said = words[following + 1 : following + 1 + int(words[following])]
        for field, value in zip(said[::2], said[1::2], strict=True):
            if str(field).startswith("o") and value:
                marking.outputs[parse_token_key(str(field)[1:])] = _bytes(value)
            elif str(field).startswith("o"):
                del marking.outputs[parse_token_key(str(field)[1:])]
        if words[9]:
            for name in [name for name in run.timers if name.startswith("!timeout|")]:
                del run.timers[name]
            if words[10]:
                run.timers[f"!timeout|{words[9]!s}"] = int(words[10])
        self._close(0, b"", [str(words[6])])

    def due(self) -> list[str]:
        """The timers of living tokens and of the run, in the order of their times."""
        return sorted(self.run.timers, key=lambda name: (self.run.timers[name], name))

    def ring(self, name: str) -> bool:
        """Let the time of a timer come; whether anything came of it (lua/release_timers.lua)."""
        run = self.run
        run.now_ms = max(run.now_ms, run.timers.pop(name))
        codes = None if run.marking.phase is RunPhase.ENDED else self._fire(*name.split("|"))
        if codes is None:
            return False
        self._close(0, b"", codes)
        return True

    def _fire(self, name: str, fence: str) -> list[str] | None:
        run, marking = self.run, self.run.marking
        if name in RUN_TIMERS:
            if marking.phase not in GOES_ON or (name == "!expire" and (-1, ()) not in marking.tokens):
                return None
            marking.drain(self.plan.ir, RUN_TIMERS[name])
            run.welcome()
            return [f"X{RUN_TIMERS[name]}"]
        what, _, key = name[1:].partition("/") if name.startswith("!") else ("", "", name)
        at = parse_token_key(key)
        token = marking.tokens.get(at)
        if token is None or run.fences[at] != int(fence):
            return None
        if what == "queue":
            return self._overdue(at)
        if what == "escalate":
            if token.place is not Place.SIGNAL:
                return None
            token.escalates = 0
            return [code_at("Y", at)]
        return self._release(at)

    def _overdue(self, at: At) -> list[str] | None:
        run = self.run
        number = run.entries.get(at, 0)
        if run.place_of(at) != "q" or number in run.pending or run.marking.tokens[at].kind is not TokenKind.NORMAL:
            return None
        run.queue.pop(number, None)
        waiting.overdue(run.marking, at)
        run.again(at)
        return [code_at("O", at)]

    def _release(self, at: At) -> list[str] | None:
        run, token = self.run, self.run.marking.tokens[at]
        if token.place is Place.SIGNAL:
            run.marking.forget_wait(at, token)
            token.extra = with_word(token.extra, EXPIRED)
            run.marking.land(at)
            run.again(at)
            return [code_at("L", at, f":{EXPIRED}")]
        place = run.place_of(at)
        if place not in ("t", BACK):
            return None
        token.place, token.due = Place.FLOOR, 0
        run.marking.land(at)
        run.again(at)
        return [code_at("T", at)] if place == "t" else []

    def finish(self, kind: str, blob: bytes, output: bytes) -> bool:
        """End the run (lua/finish_runs.lua); False where it cannot end now."""
        marking = self.run.marking
        if marking.counter or marking.phase in (RunPhase.ENDED, RunPhase.HALTED):
            return False
        marking.phase = RunPhase.ENDED
        if kind == "FAILED" and not marking.reason:
            marking.error = output or None
        for name in [name for name in self.run.timers if name.startswith("!timeout|")]:
            del self.run.timers[name]
        self._close(1, blob, [])
        return True

    def _close(self, count: int, blob: bytes, codes: list[str]) -> None:
        run, marking = self.run, self.run.marking
        codes += answer_row(run)
        run.let_in()
        closing = marking.release_closing()
        if closing:
            run.again((CLOSING_NODE, ()))
            codes += closing
        elif not marking.counter and marking.phase is not RunPhase.ENDED:
            if marking.phase in GOES_ON and marking.unfinished:
                codes.append(f"Z{marking.unfinished}")
                marking.phase = RunPhase.HALTED
            else:
                run.zeros += 1
        events = count + len(codes)
        if events:
            run.outbox.append(Logged(marking.seq + 1, count, ";".join(codes), blob, run.now_ms))
            marking.seq += events

    def events(self) -> list[RecordedEvent]:
        """What was logged since the last call."""
        found: list[RecordedEvent] = []
        for logged in self.run.outbox[self._read :]:
            facts = [(decode_facts(content), payload) for content, payload in decode_blob(logged.blob)]
            codes = logged.codes.split(";") if logged.codes else []
            facts += [(read_code(code, self.plan.node_ids), None) for code in codes]
            found += [
                RecordedEvent(run_id=self.run.run_id, seq=seq, at_ms=logged.at_ms, facts=fact, payload=payload)
                for seq, (fact, payload) in enumerate(facts, start=logged.first_seq)
            ]
        self._read = len(self.run.outbox)
        return found

    def marking(self) -> Marking:
        return self.run.marking


def _bytes(word: Word) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()
