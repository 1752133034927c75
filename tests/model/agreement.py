"""What must agree, and what each side does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from courante.sdk.marking.marking import Marking, Token
from courante.sdk.marking.scopes import scope_text
from model.reading.regions import levels

if TYPE_CHECKING:
    from courante.compiler.ir import Ir
    from courante.runner.work import Work
    from courante.sdk.marking.plan import Plan
    from model.reading.graph import Graph
    from model.reading.reading import Reading

FIELDS = ("phase", "seq", "command", "input", "reason", "error", "tokens", "joins", "maps", "last", "room")
KEPT = ("inputs", "statuses", "errors")


def agree(live: Marking, folded: Marking, plan: Plan) -> None:
    """The keys in Redis say what the log says. Redis keeps only the outputs that something reads."""
    for name in (*FIELDS, *KEPT):
        one, other = getattr(live, name), getattr(folded, name)
        assert one == other, f"{name}: in Redis {one}, by the log {other}"
    read = {place: output for place, output in folded.outputs.items() if plan.is_read[place[0]]}
    assert live.outputs == read, f"outputs: in Redis {live.outputs}, by the log {read}"


def agree_with_rules(live: Marking, pure: Marking) -> None:
    """The keys in Redis say what the rules say, which know no clock and no payload."""
    one, other = _plain(live), _plain(pure)
    for name, value in one.items():
        assert value == other[name], f"{name}: in Redis {value}, by the rules {other[name]}"
    assert live.counter == pure.counter


def _plain(marking: Marking) -> dict[str, object]:
    def plain(token: Token) -> tuple[object, ...]:
        return token.kind, token.attempt, token.live, token.extra, bool(token.due)

    return {
        "phase": marking.phase,
        "reason": marking.reason,
        "tokens": {place: plain(token) for place, token in marking.tokens.items()},
        "joins": marking.joins,
        "last": marking.last,
    }


def expected_sources(graph: Graph, reading: Reading, ir: Ir, work: Work) -> dict[str, str]:
    """Whose outputs a step must be given: declared source -> ``node scope``, by the naive reading of the levels."""
    node = work.node
    if work.live.startswith("b"):
        loop = ir.nodes[int(work.live[1:])]
        depth = ir.regions[loop.loop_region].depth
        here = [*work.scope[: depth + 1]]
        here[depth] -= 1
        here += [1] * (len(loop.levels) - len(here))
        return {loop.id: f"{loop.id} {scope_text(ir, int(work.live[1:]), tuple(here))}"}
    slots = list(range(len(node.ins)))
    if work.live.startswith("+"):
        slots = [int(slot) for slot in work.live[1:].split(",")]
    elif work.live.startswith("-"):
        gone = {int(slot) for slot in work.live[1:].split(",")}
        slots = [slot for slot in slots if slot not in gone]
    sources = [ir.nodes[ir.edges[node.ins[slot]].origin].id for slot in slots]
    where = scope_text(ir, work.number, work.scope)
    return {source: f"{source} {origin_scope(graph, reading, source, where)}" for source in sources}


def origin_scope(graph: Graph, reading: Reading, source: str, where: str) -> str:
    """The scope in which a reader in scope ``where`` sees ``source``: shared regions keep their index, and a loop that
    was left counts with its last iteration.
    """
    shared: dict[str, str] = {}
    for part in where.split("/") if where else ():
        mark = "#" if "#" in part else "@"
        owner, _, index = part.partition(mark)
        shared[owner + mark] = index
    origin = ""
    for region in levels(graph)[source]:
        index = shared[region.id] if region.id in shared else str(reading.iterations[region.owner, origin])
        origin = f"{origin}/{region.id}{index}" if origin else f"{region.id}{index}"
    return origin
