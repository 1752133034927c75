"""The plan: an IR made ready for the hot path. Effects become the words that the scripts apply.

Everything that does not depend on a scope is computed once per node. A *ready* is the part of a token's record that
the emitter knows: ``kind|stream|attempt|extra|reads|live``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from ...compiler.analysis.bonds import WAITING_TYPES
from ...compiler.ir import (
    FIXED,
    LAST,
    PREVIOUS,
    Ir,
    IrHash,
    Node,
    Read,
    ReadKind,
    caches_of,
    decode_ir,
    workflow_budget_of,
)
from ...compiler.workflow import JoinPolicy
from . import maps
from .map_plans import ITEM_MARK, MapPlans
from .marking import APPROVED, WOKEN
from .purse import Fund, Purse, purse_of
from .rules import (
    Arrive,
    Collected,
    Complete,
    Drain,
    Effect,
    Emit,
    Fill,
    Forget,
    ItemError,
    Items,
    Last,
    Milestone,
    Skip,
    Taint,
    Tell,
    Withdraw,
    item,
    start,
)
from .scopes import START_NODE, Scope, project, scope_key, token_key

READS_MAX = 32
"""A node that reads more context values fetches them itself: a wide join's arrivals must not each carry the list."""

PREFIX = {
    ReadKind.OUTPUT: "o",
    ReadKind.STEP_INPUT: "i",
    ReadKind.STATUS: "s",
    ReadKind.ERROR: "e",
    ReadKind.TOKEN: "t",
    ReadKind.ITEM: "o",
    ReadKind.MAP: "n",
}
POLICY = {
    JoinPolicy.ALL: "a",
    JoinPolicy.EVERY: "e",
    JoinPolicy.ANY: "n",
    JoinPolicy.AT_LEAST: "n",
}
SYSTEM_STREAM = "system:normal"
WITHDRAWN_READY = f"k|{SYSTEM_STREAM}|1|d||"


def context_field(kind: str, node: int, scope: Scope) -> str:
    """Return a field of the run's hash: kind o output, i input, s status, e error, t token, v value of a release."""
    return f"{kind}{node}:{scope_key(scope)}" if scope else f"{kind}{node}"


def _is_map_record(field: str) -> bool:
    return field.startswith(PREFIX[ReadKind.MAP])


class Plan:
    """One IR, for many runs. Immutable after construction but for its caches."""

    def __init__(self, ir_hash: IrHash, ir: Ir) -> None:
        self.hash = ir_hash
        self.ir = ir
        self._static_reads = [
            " ".join(self._field(read, ()) for read in node.reads) if not node.levels else None for node in ir.nodes
        ]
        self._static_ready = [
            None if reads is None else f"n|{_stream(node)}|1||{reads if len(node.reads) <= READS_MAX else ''}|"
            for node, reads in zip(ir.nodes, self._static_reads, strict=True)
        ]
        self.closes = "1" if any(node.compensate >= 0 for node in ir.nodes) else "0"
        self.node_ids = [node.id for node in ir.nodes]
        self.numbers = {node.id: number for number, node in enumerate(ir.nodes)}
        kept = {self.numbers[name]: cache for name, cache in caches_of(ir).items()}
        self.caches = {number: cache for number, cache in kept.items() if not _is_done_or_undone(ir.nodes[number])}
        self.maps = MapPlans(ir)
        self.item_reads = [
            tuple(at for at, read in enumerate(node.reads) if read.kind is ReadKind.ITEM) for node in ir.nodes
        ]
        self.map_reads = [
            tuple(at for at, read in enumerate(node.reads) if read.kind is ReadKind.MAP) for node in ir.nodes
        ]
        self.is_read = self._who_is_read()

    @classmethod
    def load(cls, ir_hash: IrHash, content: bytes) -> Plan:
        return cls(ir_hash, decode_ir(content))

    def _who_is_read(self) -> list[bool]:
        """Per node whether anything reads its output: what nobody reads is not kept in Redis."""
        found = [False] * len(self.ir.nodes)
        for node in self.ir.nodes:
            for read in node.reads:
                if read.kind in (ReadKind.OUTPUT, ReadKind.ITEM):
                    found[read.node] = True
            if node.is_aggregate:
                for source in self.maps.sources(node):
                    found[source.number] = True
            if node.loop_region >= 0:
                found[self.ir.regions[node.loop_region].node] = True
        for read in self.ir.output_reads:
            if read.kind is ReadKind.OUTPUT:
                found[read.node] = True
        return found

    @staticmethod
    def travelling(fields: list[str]) -> str:
        """Return the reads as a token's record carries them; where they are too many, the records of maps alone: a
        handler is told when one around it is closed.
        """
        return " ".join(fields if len(fields) <= READS_MAX else filter(_is_map_record, fields))

    def reads(self, number: int, scope: Scope, live: str) -> list[str]:
        """Return the fields of the context values of a token, in order of ``Node.reads``, and the loop's when back."""
        node = self.ir.nodes[number]
        fields = [self._field(read, scope) for read in node.reads]
        if live.startswith("b"):
            fields.append(self._back_field(number, scope, int(live[1:])))
        return fields

    def output_reads(self) -> list[str]:
        """Return the fields of what the run's output reads."""
        return [self._field(read, ()) for read in self.ir.output_reads]

    def _back_field(self, number: int, scope: Scope, loop: int) -> str:
        node = self.ir.nodes[loop]
        depth = self.ir.regions[node.loop_region].depth
        here = project(self.ir.nodes[number].levels, scope, node.levels)
        return context_field("o", loop, (*here[:depth], here[depth] - 1, *here[depth + 1 :]))

    def _field(self, read: Read, scope: Scope) -> str:
        if read.kind is ReadKind.INPUT:
            return "in"
        name = f"{PREFIX[read.kind]}{read.node}"
        if not read.scope:
            return name
        levels = self.ir.nodes[read.node].levels
        words: list[str] = []
        for area, source in zip(levels, read.scope, strict=True):
            if source >= 0:
                words.append(str(scope[source]))
            elif source == LAST:
                words.append(f"L{area}")
            elif source <= FIXED:
                words.append(str(FIXED - source))
            else:
                words.append(str(scope[PREVIOUS - source] - 1))
        if LAST in read.scope:
            return "~".join((f"?{name}", *words))
        return f"{name}:{'.'.join(words)}"

    def ready(self, number: int, scope: Scope, live: str = "") -> str:
        """Return the ready of a new token; for a join the script appends ``live``."""
        static = self._static_ready[number]
        if static is not None and not live.startswith("b"):
            return static + live
        node = self.ir.nodes[number]
        fields = self.reads(number, scope, live)
        return f"n|{_stream(node)}|1||{self.travelling(fields)}|{live}"

    def parked_ready(
        self, number: int, scope: Scope, live: str, *, attempt: int, extra: str, brings_value: bool = False
    ) -> str:
        """Return the ready of a token that its own node parks. brings_value: its release brings one."""
        fields = self.travelling(self.reads(number, scope, live))
        if brings_value:
            fields = f"{fields} {value_field(number, scope)}".lstrip()
        node = self.ir.nodes[number]
        stream = _stream(node) if is_for_handler(node, extra, brings_value=brings_value) else node.stream
        return f"n|{stream}|{attempt}|{extra}|{fields}|{live}"

    @cached_property
    def start_words(self) -> tuple[str, ...]:
        """The operations that put the first tokens of a run out; the same for every run."""
        effects, following = start(self.ir)
        cursor = ("e", START_KEY, start_ready(following)) if following >= 0 else ()
        return (*self.bound(), *self.words(effects), *cursor, *self.deadline())

    def bound(self) -> tuple[str, ...]:
        """The operations that a run begins with of which only so many tokens are worked on, that shares slots, or has a
        budget.
        """
        limit = self.ir.max_parallel
        bound = () if limit is None else ("L", str(limit))
        if self.is_sharing:
            bound = (*bound, "H")
        purse = purse_of(self.ir)
        if purse is None:
            return bound
        bound = (*bound, "B", *_limits(purse))
        return bound if purse.fund is None else (*bound, "F", purse.fund.name, *_limits(purse.fund))

    @cached_property
    def is_at_home(self) -> bool:
        """Whether its runs live in the first partition: of what they share see docs/decisions/concurrency-keys.md."""
        return (
            self.is_sharing
            or workflow_budget_of(self.ir) is not None
            or any(node.rate_limit is not None for node in self.ir.nodes)
        )

    @cached_property
    def is_sharing(self) -> bool:
        """Whether its steps hold slots of concurrency keys, which are to be given back when a token goes."""
        return any(node.concurrency is not None for node in self.ir.nodes)

    @cached_property
    def has_purse(self) -> bool:
        """Whether its runs have a budget, which what is spent is to be taken from."""
        return purse_of(self.ir) is not None

    def deadline(self) -> tuple[str, ...]:
        """The operation that ends the run when its time is over."""
        ms = self.ir.timeout_ms
        return () if ms is None else ("t", "!timeout", f"+{ms}", self.closes)

    @cached_property
    def ending(self) -> tuple[str, ...]:
        """The operation that names what the run's output reads, for transitions after which nothing may be left."""
        fields = self.output_reads()
        is_plain = len(fields) <= READS_MAX and not any(field.startswith("?") for field in fields)
        return ("z", " ".join(fields)) if is_plain else ()

    def closed_by(self, number: int, scope: Scope) -> list[str]:
        """Return the operation that drops a token if a failed item has closed a map around it, or nothing."""
        fields = self.maps.fast_fields(number, scope) if self.maps.is_any_fast else ()
        if not fields:
            return []
        return ["@", " ".join(fields), self.ir.nodes[number].mutex]

    def map_terms(self, number: int, scope: Scope) -> str:
        """Return what a map's record says once: see lua/includes/maps.lua."""
        region = self.maps.region(number)
        own = (region.aggregate, region.cursor, region.collector, region.sweeper)
        keys = (token_key(node, scope) for node in own)
        is_fast = "1" if region.is_fast else "0"
        per_call = max(1, maps.FILL_MAX // self.maps.tokens_per_item[number])
        head = "|".join((str(region.window), str(region.chunk), is_fast, str(per_call), *keys))
        words = self.words(item(self.ir, number, scope, ITEM_MARK))
        template = "\n".join(words).replace(str(ITEM_MARK), "\x01")
        return "\n".join((head, self.ready(region.aggregate, scope), template))

    def words(self, effects: Iterable[Effect]) -> list[str]:
        """Return the operations that apply ``effects`` in order (lua/includes/transitions.lua)."""
        words: list[str] = []
        for effect in effects:
            match effect:
                case Emit(node, scope, live, delay) if delay:
                    words += ("P", token_key(node, scope), f"+{delay}", self.ready(node, scope, live))
                case Emit(node, scope, live):
                    words += ("e", token_key(node, scope), self.ready(node, scope, live))
                case Arrive(edge, scope, status) if self.ir.nodes[self.ir.edges[edge].target].is_aggregate:
                    words += self.maps.arrival(self.ir.edges[edge], scope, status)
                case Items(node, scope, count, is_open):
                    terms = self.map_terms(node, scope)
                    words += ("O", token_key(node, scope), str(count), str(int(is_open)), terms)
                case ItemError(node, scope, error):
                    words += ("h", context_field("E", node, scope), error.decode())
                case Arrive(edge, scope, status):
                    words += self._arrival(self.ir.edges[edge].target, scope, self.ir.edges[edge].slot, status)
                case Skip(node, scope, status):
                    words += ("e", token_key(node, scope), f"k|{SYSTEM_STREAM}|1|{status}||")
                case Tell(gate, scope, told):
                    words += self._arrival(gate, scope, 1, told)
                case Last(region, scope, iteration):
                    words += ("l", context_field("l", region, scope), str(iteration))
                case Milestone(edge, scope, status):
                    arrival = self._arrival(self.ir.edges[edge].target, scope, self.ir.edges[edge].slot, status)
                    words += ("i", context_field("x", edge, scope), *arrival[1:])
                case Withdraw(node, scope):
                    words += ("v", token_key(node, scope), WITHDRAWN_READY)
                case Complete(node, scope):
                    words += ("k", token_key(node, scope))
                case Drain() | Taint() | Fill() | Collected() | Forget():
                    raise AssertionError(
                        "a failure carries its error, and what a map's own tokens do has words of its own"
                    )
        return words

    def _arrival(self, join: int, scope: Scope, slot: int, status: str) -> tuple[str, ...]:
        node = self.ir.nodes[join]
        policy = "g" if node.is_gate else POLICY[node.join] if node.join is not None else "-"
        arity = 2 if node.is_gate else len(node.ins)
        key = token_key(join, scope)
        return ("a", key, str(slot), status, policy, str(node.join_need), str(arity), self.ready(join, scope))


def _is_done_or_undone(node: Node) -> bool:
    """Whether each run has to do it itself: what can be undone, and what undoes."""
    return node.compensate >= 0 or node.compensates >= 0


def _stream(node: Node) -> str:
    """The stream of a node's tokens, and how long they may wait in it."""
    return node.stream if node.queue_timeout_ms is None else f"{node.stream}~{node.queue_timeout_ms}"


def _limits(purse: Purse | Fund) -> tuple[str, str, str]:
    limits = ["" if limit is None else str(limit) for limit in (purse.tokens, purse.cost)]
    return limits[0], limits[1], "f" if purse.refuses else "p"


def is_for_handler(node: Node, extra: str, *, brings_value: bool) -> bool:
    """Whether a token that comes back from its own node is queued for a handler, for which it may wait only so long.

    What was only waited for is there then: an outsider's word is not lost because nobody reads it in time.
    """
    if not brings_value:
        return extra.rpartition("+")[2] != WOKEN
    is_gate = node.approval is not None and node.type not in WAITING_TYPES
    return is_gate and APPROVED not in extra.split("+")


def value_field(number: int, scope: Scope) -> str:
    """Return the field of the value that a release brings to a token."""
    return context_field("v", number, scope)


def start_ready(position: int, expires_ms: int = 0) -> str:
    """Return the ready of the token that emits the entry tokens from ``position`` on, but not after ``expires_ms``."""
    return f"c|{SYSTEM_STREAM}|1|{position}{f'@{expires_ms}' if expires_ms else ''}||"


def cursor_ready(position: int, decision: str) -> str:
    """Return the ready of a token that goes on with a decision."""
    return f"c|{SYSTEM_STREAM}|1|{position}.{decision}||"


START_KEY = token_key(START_NODE, ())
