"""The pure engine of the model tests, writing the log that workers and scripts would write."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from courante.sdk.events import ErrorInfo, Facts, RecordedEvent
from courante.sdk.marking import rules
from courante.sdk.marking.marking import Place, RunPhase, Token, TokenKind
from courante.sdk.marking.scopes import (
    START_NODE,
    SWEEP_NODE,
    Scope,
    parse_scope_key,
    parse_token_key,
    scope_key,
    token_key,
)
from model.pure_engine import PureEngine

if TYPE_CHECKING:
    from courante.sdk.marking.rules import Effect

EVENT = {TokenKind.SKIP: "path.died", TokenKind.CURSOR: "effects.continued", TokenKind.NORMAL: "step.succeeded"}
END = {"COMPLETED": "run.completed", "FAILED": "run.failed"}


@dataclass
class LoggedEngine(PureEngine):
    """``log``: what has been written so far."""

    log: list[RecordedEvent] = field(default_factory=list[RecordedEvent])
    _kind: str = ""

    def start(self) -> None:
        self._write("run.started", payload=b"null")
        super().start()

    def settle(self, key: str, seen: RunPhase) -> None:
        number, scope = parse_token_key(key)
        token = self.marking.tokens[number, scope]
        self._kind = EVENT.get(token.kind, "")
        if token.place is Place.TIMER:
            self._write("timer.released", number, scope)
        elif token.kind is TokenKind.SWEEP:
            for place, other in self.marking.tokens.items():
                if other.place is Place.TIMER:
                    self._write("token.withdrawn", *place)
            self._write("run.swept")
        elif seen is RunPhase.DRAINING:
            self._write("token.dropped", number, scope)
        elif number == START_NODE:
            self._write("run.entered", number)
        elif self._kind == "step.succeeded" and self.ir.nodes[number].is_gate:
            self._kind = "gate.passed"
        super().settle(key, seen)

    def end(self) -> None:
        """Write the last event."""
        self._write(END[self.status()])

    def _decided(self, number: int, scope: Scope, decision: str, position: int = 0) -> None:
        node = self.ir.nodes[number]
        if self._kind == "step.succeeded":
            if node.when is not None and not self.oracle.when(node.id):
                self._write("step.skipped", number, scope, reason="condition_false")
            else:
                self._write("step.succeeded", number, scope, edges=decision, payload=token_key(number, scope).encode())
        elif self._kind:
            self._write(self._kind, number, scope)
        self._kind = ""
        super()._decided(number, scope, decision, position)

    def _fail(self, number: int, scope: Scope) -> None:
        self._write("step.failed", number, scope, error=ErrorInfo(type="Failed", message="drawn"))
        self._kind = ""
        super()._fail(number, scope)

    def _park(self, number: int, scope: Scope, token: Token) -> None:
        self._write("step.waiting", number, scope, reason="timer")
        is_parked = self.marking.phase is RunPhase.RUNNING
        super()._park(number, scope, token)
        if is_parked:
            self._write("timer.set", number, scope, due=1)

    def _apply(self, effects: list[Effect]) -> None:
        before = replace(self.marking, tokens={p: replace(t) for p, t in self.marking.tokens.items()})
        before.joins = {p: replace(record, slots=[*record.slots]) for p, record in self.marking.joins.items()}
        before.last = dict(self.marking.last)
        for code in before.apply(self.ir, effects):
            self._write_code(code)
        super()._apply(effects)

    def _write_code(self, code: str) -> None:
        number, scope_text, extra = code[1:].split(":")
        place = int(number), parse_scope_key(scope_text)
        if code[0] == "F":
            self._write("join.fired", *place, data={"live": extra})
        elif code[0] == "D":
            self._write("join.died", *place, reason="failed" if extra == "f" else "dead")
        else:
            self._write("timer.set", *place, due=1)

    def _write(
        self,
        kind: str,
        number: int = SWEEP_NODE,
        scope: Scope = (),
        *,
        payload: bytes | None = None,
        reason: str = "",
        edges: str = "",
        due: int = 0,
        error: ErrorInfo | None = None,
        data: dict[str, object] | None = None,
    ) -> None:
        node = {START_NODE: "(start)", SWEEP_NODE: ""}.get(number) if number < 0 else self.ir.nodes[number].id
        facts = Facts(
            type=kind,
            node=node or "",
            scope=scope_key(scope),
            reason=reason,
            edges=edges,
            due=due,
            error=error,
            data=data or {},
        )
        self.marking.seq += 1
        event = RecordedEvent(
            run_id="run_1", seq=self.marking.seq, at_ms=self.marking.seq, facts=facts, payload=payload
        )
        self.log.append(event)


__all__ = ["LoggedEngine", "rules"]
