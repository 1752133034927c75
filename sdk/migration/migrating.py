"""Migrating: the proof that the marking of a run maps to another version of its workflow. Pure.

What was decided stays decided, and what is still to come is done by the new version. That is sound where the new
version would have come to where the run is, by the same ways, and every node that may still get a token gets it by
edges that are *ahead* (``ahead``), or that have arrived. Each check names what would hang, run twice or never begin
otherwise; all that stands in the way is found, not only the first. Regions that something is in must stay as they are,
but for what their nodes say: what runs, with which input, under which conditions.

What is refused here may still be possible; what is allowed ends as the new version says.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...compiler.fitting import is_removed
from ...compiler.ir import Ir
from ..errors import Blocker
from ..fold.cuts import Cut
from ..marking.joins import JoinRecord
from ..marking.marking import GOES_ON, TokenKind
from ..marking.plan import Plan
from ..marking.purse import purse_of
from ..marking.scopes import CLOSING_NODE, NODE_NAMES, START_NODE, Scope, parse_token_key, scope_key, scope_text
from . import migrating_waits as waits
from .ahead import Ahead, inside, look_ahead, regions_under_way

At = tuple[int, Scope]
ELSEWHERE = "read its output by steps[...] instead of depending on it, or let the run end and start a new one"
IN_HANDS = "in_hands"
LATER = "let the run go on, or cancel what is in there, and ask again"


def prove(run_id: str, old: Plan, new: Plan, cut: Cut, *, partition: int = 0) -> list[Blocker]:
    """Return what stands in the way of the run's going on with ``new``, which is fitted to ``old``; empty: nothing.

    cut: the run as it is now. Cost: the graphs and the marking.
    """
    if old.hash == new.hash:
        return []
    return _Proof(run_id, old, new, cut).find(partition)


class _Proof:
    def __init__(self, run_id: str, old: Plan, new: Plan, cut: Cut) -> None:
        self._run_id = run_id
        self._before = old
        self._after = new
        self.old: Ir = old.ir
        self.new: Ir = new.ir
        self._cut = cut
        self._marking = cut.marking
        self._settled = {number for number, _ in cut.settled}
        self._ran = {number for (number, _), one in cut.settled.items() if one.status != "SKIPPED"}
        self._busy = {
            region: inside(self.old, region) for region in regions_under_way(self.old, self._marking, self._settled)
        }
        self._found: list[Blocker] = []

    def find(self, partition: int) -> list[Blocker]:
        self._whole(partition)
        self._tokens()
        self._steps()
        for at in self._marking.joins:
            if is_removed(self.new.nodes[at[0]]) and at not in self._marking.tokens:
                name = _shown(self.old, at[0])
                told = f"{name} has heard of steps that it depends on, and the new version has no such step"
                self._block("join_gone", at[0], told, f"keep {name!r}, or let it begin first")
        for region, nodes in self._busy.items():
            self._region(region, nodes)
        if not self._found:  # what follows asks of nodes that are there
            self._graph()
        return self._found

    def _block(self, code: str, at: At | int, message: str, hint: str) -> None:
        number, scope = (at, ()) if isinstance(at, int) else at
        is_token = not isinstance(at, int) and at in self._marking.tokens
        ir = self.old if number < len(self.old.nodes) else self.new
        node = _shown(ir, number) if number >= 0 else NODE_NAMES[number]
        text = scope_text(ir, number, scope) if number >= 0 and len(scope) == len(ir.nodes[number].levels) else ""
        token = f"{self._run_id}/{node}/{scope_key(scope)}" if is_token else ""
        self._found.append(Blocker(code, token, node, text, message, hint))

    def _region_token(self, nodes: Iterable[int]) -> At | None:
        wanted = set(nodes)
        return next((at for at in self._marking.tokens if at[0] in wanted), None)

    def _whole(self, partition: int) -> None:
        """The run as one."""
        marking, old, new = self._marking, self._before, self._after
        start = marking.tokens.get((START_NODE, ()))
        if marking.phase not in GOES_ON or not marking.tokens:
            self._block("run_ending", CLOSING_NODE, "the run is ending", "a run that ends is not moved any more")
        if start is not None and start.extra.partition("@")[0] != "0" and self.old.entries != self.new.entries:
            told = "the run is just beginning: some of its first steps have been put out, and others have not"
            self._block("starting", (START_NODE, ()), told, "ask again in a moment")
        if new.is_at_home and partition and not old.is_at_home:
            told = f"the new version shares slots or rates with other runs, and the run is in partition {partition}"
            self._block("elsewhere", CLOSING_NODE, told, "such runs begin in partition 0: start a new one")
        if purse_of(self.old) != purse_of(self.new):
            told = "the new version has another budget, and the run has spent of this one"
            self._block("budget_changed", CLOSING_NODE, told, "keep 'budget', or raise that of the run")
        if marking.reason and (old.closes, self.old.on_failure) != (new.closes, self.new.on_failure):
            told = "a step of the run has failed, and the new version deals with failures otherwise"
            self._block("failed_before", CLOSING_NODE, told, "keep 'on_failure' and whether anything is compensated")

    def _tokens(self) -> None:
        """Every living token has its node, and what it waits for is what the node waits for."""
        for at, token in self._marking.tokens.items():
            if at[0] < 0:
                continue
            node, other = self.old.nodes[at[0]], self.new.nodes[at[0]]
            name = f"{_shown(self.old, at[0])} {scope_text(self.old, *at)}".strip()
            if is_removed(other):
                told = f"{name} {waits.doing(token, self._cut.parked.get(at))}, and the new version has no such step"
                self._block("node_gone", at, told, f"keep {node.id!r}, or let it end first")
            elif node.type != other.type:
                told = f"{name} {waits.doing(token, self._cut.parked.get(at))} as {node.type}, and is {other.type} then"
                self._block("node_kind", at, told, f"keep its type, or give the new step another id than {node.id!r}")
            elif node.levels != other.levels:
                told = f"{name} stands in other loops or maps in the new version"
                self._block("node_scope", at, told, f"keep {node.id!r} where it is, or let it end first")
            elif token.kind is TokenKind.CURSOR:
                told = f"{name} is over, and its many effects are not all done yet"
                self._block("effects_left", at, told, "ask again in a moment")
            else:
                wrong = waits.changed(self._marking, at, token, self._cut.parked.get(at), node, other)
                if wrong:
                    self._block("wait_changed", at, f"{name} {wrong}", f"keep that of {node.id!r}, or let it end first")

    def _steps(self) -> None:
        """What was done is still there, and what the new version wants of it was kept."""
        for number in sorted(self._settled):
            node, other = self.old.nodes[number], self.new.nodes[number]
            if node.is_gate or any(at[0] == number for at in self._marking.tokens):
                continue
            if is_removed(other):
                if number in self._ran:
                    told = f"{node.id} has run, and the new version has no such step"
                    self._block("step_gone", number, told, f"keep {node.id!r}: what it did is part of the run")
            elif (node.levels, node.is_map) != (other.levels, other.is_map):
                told = f"{node.id} has run, and stands in other loops or maps in the new version"
                self._block(
                    "step_moved", number, told, f"keep {node.id!r} where it is, or give the new step another id"
                )
            else:
                self._kept(number)
        for at in self._marking.completed:
            if self.new.nodes[at[0]].compensate < 0 and not is_removed(self.new.nodes[at[0]]):
                name = self.old.nodes[at[0]].id
                told = f"{name} is to be undone if the run fails, and the new version does not say how"
                self._block("undo_gone", at[0], told, f"keep 'compensate' of {name!r}")

    def _kept(self, number: int) -> None:
        """Whether the new version reads of a step what nobody has kept, because the old one did not read it."""
        node, other = self.old.nodes[number], self.new.nodes[number]
        places = [at for at in self._cut.settled if at[0] == number]
        lost = ""
        if other.keeps_input and not node.keeps_input and number in self._ran:
            lost = "input"
        elif other.keeps_status and not node.keeps_status:
            lost = "status"
        elif self._after.is_read[number] > self._before.is_read[number] and self._cut.emptied & set(places):
            lost = "output, which is not stored any more"
        elif self._keeps_last(number):
            lost = "output in the last iteration"
        if lost:
            told = f"the new version reads of {node.id} its {lost}, and the run has not kept it"
            self._block("value_missing", number, told, f"do not read it: {node.id!r} has run")
        if number in self._ran and other.compensate >= 0 and node.compensate < 0:
            told = f"{node.id} has run without anything to undo it, and the new version undoes it"
            self._block("undo_late", number, told, f"leave out 'compensate' of {node.id!r}")

    def _keeps_last(self, number: int) -> bool:
        pairs = zip(self.old.nodes[number].levels, self.new.nodes[number].levels, strict=True)
        return any(self.new.regions[b].keeps_last and not self.old.regions[a].keeps_last for a, b in pairs)

    def _region(self, region: int, nodes: set[int]) -> None:
        """One that is under way keeps its nodes and edges."""
        ours, theirs = self.old.regions[region], self.new.regions[region]
        name = self.old.nodes[ours.node].id
        wrong = "it is none" if theirs.depth < 0 else waits.region_change(self.old, self.new, region, nodes)
        if not wrong:
            return
        at = self._region_token(nodes)
        what = ("loop", "map", "paths behind the 'each' join")[ours.kind]
        told = f"the {what} {name} is under way, and in the new version {wrong}"
        self._block(
            "region_changed", at if at is not None else ours.node, told, f"keep its steps and their ways; {LATER}"
        )

    def _graph(self) -> None:
        """What is ahead in the new version comes by edges that are ahead, or that have arrived."""
        before = look_ahead(self.old, self._marking, self._cut.settled)
        after = look_ahead(self.new, self._marking, self._cut.settled)
        closed = {number for nodes in self._busy.values() for number in nodes}
        for number, node in enumerate(self.new.nodes):
            if number in closed or is_removed(node):
                continue
            if number in after.begun:
                self._begun(number, before, after)
            elif number in after.nodes:
                self._to_come(number, before, after)
            else:
                self._never(number, before)

    def _record(self, number: int) -> JoinRecord | None:
        return self._marking.joins.get((number, ()))

    def _sources(self, edges: Iterable[int]) -> str:
        return ", ".join(dict.fromkeys(_shown(self.new, self.new.edges[edge].origin) for edge in edges))

    def _begun(self, number: int, before: Ahead, after: Ahead) -> None:
        """It had its turn by what it depended on; what still comes must be what its join still waits for."""
        node, record = self.new.nodes[number], self._record(number)
        coming = [edge for edge in node.ins if edge in after.edges]
        at: At | int = (number, ()) if (number, ()) in self._marking.tokens else number
        name = _shown(self.new, number)
        is_open = record is not None and record.is_settled
        if coming and not is_open:
            told = f"{name} has begun, and in the new version it depends on {self._sources(coming)}, still to come"
            self._block("begun_before", at, told, f"let other steps than {name!r} depend on it")
            return
        was = {edge for edge in self.old.nodes[number].ins if edge not in before.edges}
        count = 0 if record is None else record.live + record.dead
        is_same = {*node.ins} - {*coming} == was and _is_same_join(self.old, self.new, number, was)
        if not is_same or (is_open and not (coming and len(was) == count)):
            told = f"{name} has begun or is dead by what it depended on, and depends on something else then"
            self._block("join_changed", at, told, f"keep what {name!r} depends on, and its 'join'")

    def _to_come(self, number: int, before: Ahead, after: Ahead) -> None:
        node, record = self.new.nodes[number], self._record(number)
        name = _shown(self.new, number)
        decided = [edge for edge in node.ins if edge not in after.edges]
        arrived = self._arrived(number, before)
        if arrived is None:
            if _joins(self.old, number) != _joins(self.new, number):
                told = f"what {name} has heard of the steps that it depends on cannot be told apart"
                self._block("join_unclear", number, told, f"keep what {name!r} depends on, and its 'join'")
            return
        late = [edge for edge in decided if edge not in arrived]
        lost = [edge for edge in arrived if edge not in decided]
        if late:
            told = f"{name} depends on {self._sources(late)} in the new version, which is over and did not lead there"
            self._block("way_missing", number, told, ELSEWHERE)
        if lost:
            sources = ", ".join(_shown(self.old, self.old.edges[edge].origin) for edge in lost)
            told = f"{name} has heard of {sources} already, and does not depend on it in the new version"
            self._block("arrival_lost", number, told, f"keep what {name!r} depends on: {sources}")
        if record is not None and not lost and not late and not _is_same_join(self.old, self.new, number, arrived):
            told = (
                f"{name} waits for several steps, some of which are over, and joins them otherwise in the new version"
            )
            self._block("join_changed", number, told, f"keep 'join' of {name!r}, and what it depends on")

    def _arrived(self, number: int, before: Ahead) -> list[int] | None:
        """Return the edges that have arrived at a join that waits, None where that cannot be told."""
        if number >= len(self.old.nodes) or is_removed(self.old.nodes[number]):
            return []
        node, record = self.old.nodes[number], self._record(number)
        arrived = [edge for edge in node.ins if edge not in before.edges]
        count = 0 if record is None else record.live + record.dead
        return arrived if count == len(arrived) else None

    def _never(self, number: int, before: Ahead) -> None:
        """Nothing leads there any more: that must be because its ways are dead."""
        node = self.new.nodes[number]
        name = _shown(self.new, number)
        if not node.ins:
            if node.compensates < 0 and not node.is_gate:
                told = f"{name} would have begun with the run: nothing that is still to come leads there"
                self._block("begins_the_run", number, told, f"let {name!r} depend on a step that is still to come")
            return
        if self._record(number) is not None:
            told = f"{name} waits for steps that the new version does not let it wait for, and would never begin"
            self._block("join_starved", number, told, f"keep what {name!r} depends on")
            return
        live = [
            edge
            for edge in node.ins
            if self.new.edges[edge].source in self._ran and not self._was_dead(edge, number, before)
        ]
        if live:
            told = f"{name} depends on {self._sources(live)} in the new version, which is over: it would never begin"
            self._block("way_missing", number, told, f"let {name!r} depend on a step that is still to come")

    def _was_dead(self, edge: int, number: int, before: Ahead) -> bool:
        """Whether the old version had the edge, and it led to nothing."""
        return _has_edge(self.old, number, edge) and number not in before.nodes


def _has_edge(ir: Ir, number: int, edge: int) -> bool:
    return number < len(ir.nodes) and edge in ir.nodes[number].ins


def _joins(ir: Ir, number: int) -> tuple[object, ...]:
    """All that makes a join what it is: policy, and edges at their slots."""
    if number >= len(ir.nodes):
        return ()
    node = ir.nodes[number]
    return node.join, node.join_need, node.is_each, node.ins


def _is_same_join(old: Ir, new: Ir, number: int, arrived: Iterable[int]) -> bool:
    """Whether a join goes on to mean the same: the policy, and the slots of what has arrived."""
    ours, theirs = old.nodes[number], new.nodes[number]
    slots = all(old.edges[edge].slot == new.edges[edge].slot for edge in arrived if edge < len(new.edges))
    return slots and (ours.join, ours.join_need, ours.is_gate) == (theirs.join, theirs.join_need, theirs.is_gate)


def _shown(ir: Ir, number: int) -> str:
    """The step that people know a node by; of the engine's own nodes the one that they belong to."""
    node = ir.nodes[number]
    if not node.is_gate or not node.ins:
        return node.id.partition(":")[2] if node.map_region >= 0 and node.is_gate else node.id
    return ir.nodes[ir.edges[node.ins[0]].origin].id


def blocked_in_hands(run_id: str, plan: Plan, tokens: Iterable[str]) -> list[Blocker]:
    """Return what is said of tokens that somebody has in hand: they end by the version that they began with."""
    found: list[Blocker] = []
    for number, scope in map(parse_token_key, tokens):
        node = _shown(plan.ir, number) if number >= 0 else NODE_NAMES[number]
        told = f"{node} is being worked on".strip()
        hint = f"let it end, or courante pause {run_id}: then nothing new begins, and the run can move"
        token = f"{run_id}/{node}/{scope_key(scope)}"
        found.append(Blocker(IN_HANDS, token, node, scope_text(plan.ir, number, scope), told, hint))
    return found
