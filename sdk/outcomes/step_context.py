"""The context of a step: the values that its expressions read, and its input. Pure.

A worker makes one from what came with a token, the replay from the marking at an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ...compiler.cel import EvaluationError, Expression
from ...compiler.ir import Node, ReadKind, RegionKind
from ..errors import PayloadUnreadable
from ..json_values import NotJson, encode_value
from ..marking.marking import EXPIRED, FORCED, is_lasting
from ..marking.plan import Plan
from ..marking.scopes import Scope
from ..sealing.sealing import open_error_json
from ..step_error import StepError
from .node_code import NodeCode

__all__ = ["NULL", "Roots", "StepContext", "StepError", "decode_json", "encode_json"]
NULL = b"null"
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_NO_STEPS = frozenset({ReadKind.INPUT, ReadKind.TOKEN, ReadKind.ITEM, ReadKind.MAP})
_STEP_FIELD = {ReadKind.OUTPUT: "output", ReadKind.STEP_INPUT: "input", ReadKind.ERROR: "error"}


@dataclass(slots=True, kw_only=True)
class StepContext:
    """``number``: of the node in the IR (negative: a token of the engine's own). ``live``: see ``Emit``.

    ``values``: JSON bytes as ``Plan.reads`` orders them; behind them what a release has brought, and behind that what
    early signals would bring that may be taken with it. ``code``: set before anything is evaluated. ``key``: of its
    token; ``extra``: what happened to that (``marking.Token``). ``decision``: of who was asked whether it may run,
    where that came with this delivery.
    """

    run_id: str
    plan: Plan
    number: int
    scope: Scope
    live: str
    values: list[bytes | None]
    code: NodeCode | None = None
    roots: Roots | None = None
    input_json: bytes | None = None
    key: str = ""
    extra: str = ""
    decision: dict[str, object] | None = None
    node: Node = field(init=False)
    """Of no token of the engine's own."""

    def __post_init__(self) -> None:
        if self.number >= 0:
            self.node = self.plan.ir.nodes[self.number]

    @property
    def word(self) -> str:
        """Why the token came back after it was parked: its last word that is not a lasting one, or nothing."""
        word = self.extra.rpartition("+")[2]
        return "" if is_lasting(word) else word

    @property
    def has_value(self) -> bool:
        """Whether its release has brought a value."""
        word = self.word
        return word == FORCED or (word.startswith("s") and word != EXPIRED)

    @property
    def released_value(self) -> object:
        """The value that came with the release; it stands behind all that the node reads."""
        place = self._value_place
        return decode_json(self.values[place] or b"null") if len(self.values) > place else None

    @property
    def early_values(self) -> list[object]:
        """The values of early signals that may be taken with the one that released it, in their order."""
        return [decode_json(value or b"null") for value in self.values[self._value_place + 1 :]]

    @property
    def _value_place(self) -> int:
        return len(self.node.reads) + self.live.startswith("b")

    @property
    def own_output(self) -> bytes | None:
        """What it has said before, of a map to which items may be added: it has opened then."""
        pairs = zip(self.node.reads, self.values, strict=False)
        return next((value for read, value in pairs if read.node == self.number), None)

    def default_input(self) -> bytes:
        """Return the input where the document says none, as JSON bytes: nothing is decoded on the way."""
        node = self.node
        if self.live.startswith("b"):
            return self.values[len(node.reads)] or NULL
        if not node.sources:
            return self.run_input()
        if len(node.sources) == 1:
            return self.values[node.sources[0][1]] or NULL
        parts = {name: msgspec.Raw(value) for name, value in self.live_inputs()}
        return _encode(parts)

    def run_input(self) -> bytes:
        """Return the run's input, as far as this node reads it."""
        for read, value in zip(self.node.reads, self.values, strict=False):
            if read.kind is ReadKind.INPUT:
                return value or NULL
        return NULL

    def live_inputs(self) -> list[tuple[str, bytes]]:
        """Return the outputs of the predecessors that arrived live, by id, in declared order."""
        sources = self.node.sources
        if self.live.startswith("b"):
            loop = self.plan.ir.nodes[int(self.live[1:])]
            return [(loop.id, self.values[len(self.node.reads)] or NULL)]
        slots = _live_slots(self.live, len(sources))
        found = ((name, self.values[read]) for slot, (name, read) in enumerate(sources) if slot in slots)
        return [(name, value) for name, value in found if value is not None]

    def token_record(self, number: int) -> bytes | None:
        """Return the record of the token of another node that this one reads, None where none lives."""
        for read, value in zip(self.node.reads, self.values, strict=False):
            if read.kind is ReadKind.TOKEN and read.node == number:
                return value
        return None

    def context(self) -> Roots:
        if self.roots is None:
            self.roots = Roots(self)
        return self.roots

    def evaluate(self, expression: Expression) -> Any:
        """Evaluate in this step's context. Raises StepError with the expression in its message."""
        try:
            return expression.evaluate(self.context())
        except EvaluationError as error:
            raise StepError("EXPRESSION_ERROR", f"{error} (in {expression.source!r})") from error

    def input_bytes(self) -> bytes:
        """Return the node's input: its mapping, or the default. Raises StepError."""
        if self.input_json is None:
            mapping = self.code.input if self.code is not None else None
            if mapping is None or self.live.startswith("b"):
                self.input_json = self.default_input()
            elif isinstance(mapping, dict):
                self.input_json = encode_json({name: self.evaluate(e) for name, e in mapping.items()})
            else:
                self.input_json = encode_json(self.evaluate(mapping))
        return self.input_json


def _live_slots(live: str, arity: int) -> range | set[int] | list[int]:
    if live.startswith("-"):
        return set(range(arity)) - {int(slot) for slot in live[1:].split(",")}
    if live.startswith("+"):
        return [int(slot) for slot in live[1:].split(",")]
    return range(arity)


class Roots(dict[str, Any]):
    """The context of expressions: a root is made when it is first read."""

    def __init__(self, step: StepContext) -> None:
        super().__init__()
        self._step = step

    def __missing__(self, root: str) -> Any:
        step = self._step
        if root == "input":
            self[root] = decode_json(step.run_input())
        elif root in ("steps", "tasks", "outputs"):
            self._read_steps()
        elif root == "inputs":
            self[root] = {name: decode_json(value) for name, value in step.live_inputs()}
        elif root == "run":
            self[root] = {"id": step.run_id, "workflow": step.plan.ir.workflow}
        elif root == "loop":
            self[root] = self._loop()
        elif root in ("item", "index"):
            self._read_item()
            if root not in self:
                raise KeyError(root)
        else:
            raise KeyError(root)
        return self[root]

    def set_output(self, output: Any) -> None:
        """Make the node's own output readable: as ``output``, and as its own step."""
        self["output"] = output
        steps: dict[str, dict[str, Any]] = self["steps"]
        steps.setdefault(self._step.node.id, {})["output"] = output
        self["outputs"][self._step.node.id] = output

    def _read_steps(self) -> None:
        steps: dict[str, dict[str, Any]] = {}
        outputs: dict[str, Any] = {}
        nodes = self._step.plan.ir.nodes
        for read, value in zip(self._step.node.reads, self._step.values, strict=False):
            if read.kind in _NO_STEPS:
                continue
            name = nodes[read.node].id
            found = steps.setdefault(name, {})  # also where it has no value: has(steps.x.output) is false, no error
            if read.kind is ReadKind.STATUS:
                found["status"] = "SKIPPED" if value is None else value.decode()
            elif value is not None:
                found[_STEP_FIELD[read.kind]] = decode_json(_opened(value) if read.kind is ReadKind.ERROR else value)
                if read.kind is ReadKind.OUTPUT:
                    outputs[name] = found["output"]
        self["steps"] = self["tasks"] = steps
        self["outputs"] = outputs

    def _read_item(self) -> None:
        """Of the innermost map around the step. Raises KeyError outside of maps."""
        step = self._step
        regions = step.plan.ir.regions
        for level, index in zip(reversed(step.node.levels), reversed(step.scope), strict=True):
            if regions[level].kind is RegionKind.MAP:
                self["index"] = index
                for read, value in zip(step.node.reads, step.values, strict=False):
                    if read.kind is ReadKind.ITEM and read.node == regions[level].node and value is not None:
                        self["item"] = decode_json(value)
                return

    def _loop(self) -> Mapping[str, int]:
        step = self._step
        regions = step.plan.ir.regions
        for level, index in zip(reversed(step.node.levels), reversed(step.scope), strict=True):
            if regions[level].kind is RegionKind.LOOP:
                return {"iteration": index}
        return {}


def _opened(error: bytes) -> bytes:
    """Raises StepError for a text that this process has no key for."""
    try:
        return open_error_json(error)
    except PayloadUnreadable as problem:
        raise StepError("PAYLOAD_MISSING", f"the text of an error cannot be read: {problem}") from problem


def decode_json(content: bytes) -> Any:
    return _decode(content)


def encode_json(value: object) -> bytes:
    """Return JSON bytes. Raises StepError (OUTPUT_INVALID) with the place of what JSON cannot say: NaN, sets, bytes."""
    try:
        return encode_value(value)
    except NotJson as error:
        raise StepError("OUTPUT_INVALID", f"this is no JSON value: {error}") from error
