"""The operations of a transition, applied to a run in memory: the twin of lua/includes/transitions.lua.

They are the same words that a worker sends to Redis. What they change is changed by the rules that fold a log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..sdk.floor.calling import Word
from ..sdk.marking import maps, waiting
from ..sdk.marking.marking import GOES_ON, PARKS, Marking, Place, Token, TokenKind
from ..sdk.marking.plan import START_KEY
from ..sdk.marking.rules import (
    Arrive,
    Collected,
    Complete,
    Drain,
    Effect,
    Emit,
    ItemError,
    Items,
    Last,
    Milestone,
    Skip,
    Taint,
    Tell,
    Withdraw,
)
from ..sdk.marking.scopes import CLOSING_NODE, START_NODE, SWEEP_NODE, parse_token_key, scope_key, token_key
from .memory_run import ASIDE, BACK, At, MemoryRun

Words = Sequence[str]

# fmt: off
WIDTHS = {"o": 3, "-": 2, "e": 3, "P": 4, "a": 8, "i": 9, "l": 3, "d": 4, "x": 3, "k": 2, "b": 3, "v": 3, "u": 2,
          "p": 3, "y": 4, "w": 5, "m": 3, "c": 2, "r": 2, "s": 1, "j": 1, "n": 1, "t": 4, "z": 2,
          "O": 5, "I": 7, "f": 2, "g": 3, "q": 4, "h": 3, "@": 3, "L": 2, "H": 1, "S": 2, "R": 5,
          "A": 2, "$": 3, "B": 4, "F": 5, "T": 3}
# fmt: on
"""How many words an operation has, its letter included."""
PREPARED = {"s": "statuses", "i": "inputs", "e": "errors", "o": "outputs", "r": "results"}
KEPT = {**PREPARED, "v": "values", "E": "item_errors", "q": "chunks"}


def code_at(letter: str, at: At, rest: str = "") -> str:
    return f"{letter}{at[0]}:{scope_key(at[1])}{rest}"


def lacks_ground(marking: Marking, words: Sequence[Word]) -> bool:
    """Whether operations build on what is not there any more: retries of the run's budget, or early signals."""
    first = words[3:] if words[:1] == ["@"] else words
    if first[:1] == ["y"] and str(first[1]):
        return marking.retries >= int(first[1])
    if first[:1] == ["T"] and marking.phase in PARKS:
        numbers = str(first[2]).split()
        return [str(number) for number, _ in marking.signals.get(str(first[1]), ())][: len(numbers)] != numbers
    return False


class Operations:
    """Applies the words of one transition. ``at``: the token's place. The codes are those that the script would log."""

    def __init__(self, run: MemoryRun, at: At | None, codes: list[str]) -> None:
        self.run = run
        self.at: At = at if at is not None else (SWEEP_NODE, ())
        self.codes = codes
        self.stays = False
        self._parks: dict[str, Callable[[Words], None]] = {
            "p": self._park,
            "y": self._retry,
            "w": self._wait,
            "m": self._ask_mutex,
            "S": self._ask_slot,
            "R": self._ask_pace,
            "A": self._ask_budget,
        }

    def apply(self, words: Sequence[Word]) -> bool:
        """Return whether the token stays."""
        at = 0
        while at < len(words):
            width = WIDTHS[str(words[at])]
            self._apply(words[at : at + width])
            at += width
        return self.stays

    def _apply(self, op: Sequence[Word]) -> None:
        letter = str(op[0])
        if letter in ("o", "d", "x"):
            self._keep(letter, op)
            return
        words = [word.decode() if isinstance(word, bytes) else str(word) for word in op]
        if letter in self._parks:
            if self.run.marking.phase in PARKS:
                self.stays = True
                self._parks[letter](words)
        elif letter in "fgq":
            self._own(letter, words)
        elif letter in "cnrsjb":
            self._stay(letter, words)
        elif letter == "T":
            if self.run.marking.phase in PARKS:
                waiting.take_early(self.run.marking, words[1], len(words[2].split()))
        elif letter == "u":
            self._redirect(waiting.free_mutex(self.run.marking, self.at, words[1]))
        elif letter == "-":
            if words[1][0] in KEPT:
                getattr(self.run.marking, KEPT[words[1][0]]).pop(parse_token_key(words[1][1:]), None)
        elif letter == "t":
            self.run.timers[f"{words[1]}|{words[3]}"] = self.due_ms(words[2])
        elif letter == "$":
            assert self.run.marking.purse is not None
            self.run.marking.purse.spend(int(words[1]), int(words[2]))
        elif letter not in ("z", "@", "L", "H", "B", "F"):
            self._effect(words)

    def _effect(self, words: Words) -> None:
        if words[:2] == ["e", START_KEY]:  # of a start in several parts; it is no step, and waits for no room
            kind, _, _, extra, *_ = words[2].split("|")
            self.run.marking.put(START_NODE, (), Token(kind=TokenKind(kind), extra=extra))
            self.run.welcome()
            return
        due_ms = self.due_ms(words[2]) if words[0] == "P" else 0
        codes = self.run.marking.apply(self.run.plan.ir, [self._effect_of(words)])
        self.run.redirect(codes)
        self.run.welcome(due_ms)
        self.codes += [f"{code}{due_ms}" if code[0] == "P" else code for code in codes]

    def _effect_of(self, words: Words) -> Effect:
        letter, ir = words[0], self.run.plan.ir
        if letter in "eP":
            kind, _, _, extra, _, live = words[-1].split("|")
            at = parse_token_key(words[1])
            if kind == TokenKind.SKIP:
                return Skip(*at, extra)
            return Emit(*at, live, int(letter == "P"))
        if letter == "O":
            return Items(*parse_token_key(words[1]), int(words[2]), words[3] == "1")
        if letter == "h":
            return ItemError(*parse_token_key(words[1][1:]), words[2].encode())
        if letter == "I":
            aggregate, item = parse_token_key(words[2])
            return Arrive(ir.nodes[aggregate].ins[int(words[4])], item, words[5])
        if letter == "l":
            return Last(*parse_token_key(words[1][1:]), int(words[2]))
        if letter in "kv":
            return (Complete if letter == "k" else Withdraw)(*parse_token_key(words[1]))
        slot, status = (2, 3) if letter == "a" else (3, 4)
        join, scope = parse_token_key(words[slot - 1])
        if status and words[status] in "bx":
            return Tell(join, scope, words[status])
        edge = ir.nodes[join].ins[int(words[slot])]
        return Arrive(edge, scope, words[status]) if letter == "a" else Milestone(edge, scope, words[status])

    def _keep(self, letter: str, op: Sequence[Word]) -> None:
        marking, ir = self.run.marking, self.run.plan.ir
        if letter == "o":
            field, value = str(op[1]), op[2]
            kept = value if isinstance(value, bytes) else str(value).encode()
            getattr(marking, PREPARED[field[0]])[parse_token_key(field[1:])] = kept
            return
        if marking.phase not in GOES_ON:
            return
        error = op[2] if letter == "d" else op[1]
        if not marking.reason and error:
            marking.error = error if isinstance(error, bytes) else str(error).encode()
        marking.apply(ir, [Drain(str(op[1])) if letter == "d" else Taint()])
        self.run.welcome()

    def _stay(self, letter: str, words: Words) -> None:
        run, marking = self.run, self.run.marking
        if letter == "b":
            at = parse_token_key(words[1])
            marking.completed.pop()
            marking.put(*at, Token())
            closing = marking.tokens[CLOSING_NODE, ()]
            closing.place, closing.deliveries = Place.HELD, 0
            run.park((CLOSING_NODE, ()), 0)
            run.welcome()
        elif letter == "c":
            if marking.phase not in GOES_ON:
                return
            token = marking.tokens[self.at]
            token.kind, token.extra, token.live, token.deliveries = TokenKind.CURSOR, words[1].split("|")[3], "", 0
            marking.leave(self.at)
            run.again(self.at)
        elif letter == "r":
            run.park(self.at, run.now_ms + int(words[1]), BACK)
        elif letter in "sj":
            self._sweep() if letter == "s" else self._wake()
            return
        self.stays = True

    def _own(self, letter: str, words: Words) -> None:
        """What the cursor, the collector and the sweep of a map do."""
        run, at = self.run, parse_token_key(words[1])
        if run.marking.phase not in GOES_ON:
            self.codes += [code_at("E", self.at)] if letter == "q" else []
            return
        codes: list[str] = []
        if letter == "q":
            self._clear(at)
        elif letter == "f":
            self.stays = maps.fill_on(run.marking, run.plan.ir, at, codes)
        else:
            for chunk in words[2].split("+"):
                self.stays = maps.collected(run.marking, run.plan.ir, Collected(*at, int(chunk)), codes)
        if self.stays:
            run.marking.tokens[self.at].deliveries = 0
            run.again(self.at)
        run.welcome()
        self.codes += codes

    def _clear(self, over: At) -> None:
        """Take away what is parked below a closed map, its half-filled joins and the maps that are open there."""
        run, ir = self.run, self.run.plan.ir
        for at, token in list(run.marking.tokens.items()):
            if run.place_of(at) not in ("q", BACK) and maps.below(ir, over, at):
                run.timers.pop(f"{token_key(*at)}|{run.fences[at]}", None)
                run.marking.forget_wait(at, token)
                run.marking.values.pop(at, None)
                run.take(at)
                self.codes.append(code_at("W", at))
                if ir.nodes[at[0]].mutex:
                    self._redirect(waiting.free_mutex(run.marking, at, ir.nodes[at[0]].mutex))
        for at in [at for at in run.marking.joins if maps.below(ir, over, at)]:
            del run.marking.joins[at]
            self.codes.append(code_at("Q", at))
        opened = [at for at, record in run.marking.maps.items() if not record.is_closed]
        for at in [at for at in opened if maps.below(ir, over, at)]:
            del run.marking.maps[at]
            self.codes.append(code_at("C", at))
        self.codes.append(code_at("M", self.at))

    def _sweep(self) -> None:
        run = self.run
        for at, token in list(run.marking.tokens.items()):
            if run.place_of(at) not in ("q", BACK, Place.HELD):
                run.timers.pop(f"{token_key(*at)}|{run.fences[at]}", None)
                run.marking.forget_wait(at, token)
                run.marking.values.pop(at, None)
                run.take(at)
                self._free(at)
                self.codes.append(code_at("W", at))
        self.codes.append("S")

    def _free(self, at: At) -> None:
        mutex = self.run.plan.ir.nodes[at[0]].mutex if at[0] >= 0 else ""
        if mutex:
            waiting.free_mutex(self.run.marking, at, mutex)

    def _wake(self) -> None:
        for at, place in list(self.run.places.items()):
            if place == ASIDE:
                self.run.again(at)
        self.run.slots.come_back(self.run.marking)
        self.codes.append("U")

    def _park(self, words: Words) -> None:
        token = self._set_down(words[2])
        token.attempt = int(words[2].split("|")[2])
        self._into_timers(words[1])

    def _set_down(self, ready: str) -> Token:
        """Its own node parks it: what was counted against whoever had it in hand is forgotten."""
        token = self.run.marking.tokens[self.at]
        token.extra, token.deliveries = ready.split("|")[3], 0
        return token

    def _retry(self, words: Words) -> None:
        self.run.marking.retries += 1
        self._park(words[1:])

    def _into_timers(self, due: str) -> None:
        token, due_ms = self.run.marking.tokens[self.at], self.due_ms(due)
        token.place, token.due = Place.TIMER, due_ms
        self.run.marking.leave(self.at)
        self.run.park(self.at, due_ms)
        self.codes.append(code_at("P", self.at, f":{due_ms}"))

    def _wait(self, words: Words) -> None:
        run, names = self.run, tuple(words[1].split())
        self._set_down(words[4])
        codes = waiting.wait_for_signals(run.marking, self.at, names)
        self._redirect(codes)
        if codes:
            return
        token, due_ms = run.marking.tokens[self.at], self.due_ms(words[2]) if words[2] else 0
        token.due = due_ms
        run.park(self.at, due_ms)
        if due_ms:
            self.codes.append(code_at("P", self.at, f":{due_ms}"))
        if words[3]:
            token.escalates = self.due_ms(words[3])
            run.timers[f"!escalate/{token_key(*self.at)}|{run.fences[self.at]}"] = token.escalates

    def _ask_mutex(self, words: Words) -> None:
        self._set_down(words[2])
        codes = waiting.ask_mutex(self.run.marking, self.at, words[1])
        self._redirect(codes)
        if not codes:
            self.run.park(self.at, 0)

    def _ask_slot(self, words: Words) -> None:
        run, token = self.run, self._set_down(words[1])
        waiting.ask_slot(run.marking, self.at, token.extra.rpartition("+")[2])
        run.park(self.at, 0)
        run.slots.ask(self.at, token, run.priority_of(self.at))

    def _ask_budget(self, words: Words) -> None:
        run, token = self.run, self.run.marking.tokens[self.at]
        word = words[1].split("|")[3].rpartition("+")[2]
        token.extra = words[1].split("|")[3].rpartition("+")[0]
        waiting.ask_budget(run.marking, self.at, word)
        run.park(self.at, 0)

    def _ask_pace(self, words: Words) -> None:
        run = self.run
        self._set_down(words[4])
        due_ms = run.slots.pace(words[1], int(words[2]), int(words[3]), run.now_ms)
        self.codes.append(code_at("P", self.at, f":{due_ms}"))
        run.marking.leave(self.at)
        if due_ms > run.now_ms:
            run.marking.tokens[self.at].place, run.marking.tokens[self.at].due = Place.TIMER, due_ms
            run.park(self.at, due_ms)
        else:
            run.marking.land(self.at)
            run.again(self.at)
            self.codes.append(code_at("T", self.at))

    def _redirect(self, codes: list[str]) -> None:
        self.run.redirect(codes)
        self.codes += codes

    def due_ms(self, due: str) -> int:
        """``+ms`` from now, or a time in ms."""
        return self.run.now_ms + int(due[1:]) if due.startswith("+") else int(due)
