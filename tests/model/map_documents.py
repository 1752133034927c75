"""Documents of maps, loops, branches and conditions inside of each other, and what must come of them, read by itself.

The reading walks the tree that the document was drawn as. It knows no tokens, no edges and nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any

HANDLER = "model.maps"
ITERATIONS = 3
LIVE, DEAD, FAILED = "live", "dead", "failed"
POLICIES: tuple[Any, ...] = ("all", "collect", {"tolerate": 1}, {"tolerate": "50%"})


@dataclass
class Part:
    """``kind``: step, guarded, branch, loop (a step again and again), circle (a loop with a body) or map.

    ``below``: the parts of a body, which a circle has between its first step and the last one, that decides.
    """

    kind: str
    id: str
    items: int = 0
    window: int = 0
    policy: Any = "all"
    below: list[Part] = field(default_factory=list["Part"])

    @property
    def end(self) -> str:
        """The node that what comes next depends on."""
        return {"branch": f"{self.id}j", "map": f"{self.id}g", "circle": f"{self.id}e"}.get(self.kind, self.id)


def draw_parts(
    random: Random,
    depth: int,
    numbers: list[int],
    *,
    in_map: bool = False,
    policies: tuple[Any, ...] = POLICIES,
    circles: int = 0,
) -> list[Part]:
    """circles: how often one is drawn, where a map is drawn twice and a branch once."""
    kinds = ["step", "step", "branch", "loop", "map", "map", *(["guarded"] if in_map else []), *["circle"] * circles]
    return [
        _draw_part(random, random.choice(kinds), depth, numbers, policies, circles) for _ in range(random.randint(1, 3))
    ]


def _draw_part(
    random: Random, kind: str, depth: int, numbers: list[int], policies: tuple[Any, ...], circles: int
) -> Part:
    if kind in ("map", "circle") and not depth:
        kind = "step"
    numbers[0] += 1
    part = Part(kind, f"n{numbers[0]}")
    if kind == "map":
        part.items, part.window = random.choice([0, 1, 2, 3, 5]), random.randint(1, 4)
        part.policy = random.choice(policies)
    if kind in ("map", "circle"):
        in_map = kind == "map"
        part.below = draw_parts(random, depth - 1, numbers, in_map=in_map, policies=policies, circles=circles)
    return part


def document_of(parts: list[Part], max_parallel: int = 0) -> dict[str, Any]:
    """max_parallel: 0 where nothing bounds the run."""
    nodes: list[dict[str, Any]] = [_step("n0")]
    _write(parts, "n0", nodes)
    policy: dict[str, Any] = {"on_failure": "continue"}
    if max_parallel:
        policy["max_parallel"] = max_parallel
    return {"courante": 1, "id": "maps", "policy": policy, "nodes": nodes}


def _step(id: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    written = {"id": id, "type": "function", "config": {"handler": HANDLER}, "retry": {"max_attempts": 1}, **more}
    return {**written, "depends_on": list(depends_on)} if depends_on else written


def _write(parts: list[Part], before: str, nodes: list[dict[str, Any]]) -> str:
    for part in parts:
        match part.kind:
            case "branch":
                rules = [{"when": "output.yes", "next": [f"{part.id}a"]}]
                nodes.append(_step(part.id, before, rules=rules, default=[f"{part.id}b"]))
                nodes += [_step(f"{part.id}a"), _step(f"{part.id}b")]
                nodes.append({"id": part.end, "type": "noop", "depends_on": [f"{part.id}a", f"{part.id}b"]})
            case "loop":
                loop = {"while": "output.yes", "back_to": part.id, "max_iterations": ITERATIONS}
                nodes.append(_step(part.id, before, loop=loop))
            case "circle":
                nodes.append(_step(part.id, before))
                last = _write(part.below, part.id, nodes)
                loop = {"while": "output.yes", "back_to": part.id, "max_iterations": ITERATIONS}
                nodes.append(_step(part.end, last, loop=loop))
            case "map":
                config = {"items": str(list(range(part.items))), "max_concurrency": part.window}
                nodes.append({"id": part.id, "type": "map", "depends_on": [before], "config": config})
                last = _write(part.below, part.id, nodes)
                policy = {"policy": part.policy}
                nodes.append({"id": part.end, "type": "aggregate", "depends_on": [last], "config": policy})
            case "guarded":
                nodes.append(_step(part.id, before, when="index != 1"))
            case _:
                nodes.append(_step(part.id, before))
        before = part.end
    return before


@dataclass(frozen=True)
class Draws:
    """What steps come to, by node and scope."""

    seed: int
    failing: float = 0.1

    def ok(self, node: str, scope: str) -> bool:
        return self._draw(node, scope, "ok") >= self.failing

    def yes(self, node: str, scope: str) -> bool:
        return self._draw(node, scope, "yes") < 0.5

    def output(self, node: str, scope: str) -> dict[str, Any]:
        return {"at": f"{node} {scope}".strip(), "yes": self.yes(node, scope)}

    def _draw(self, node: str, scope: str, question: str) -> float:
        key = f"{self.seed}|{node}|{scope}|{question}".encode()
        return int.from_bytes(blake2b(key, digest_size=6).digest()) / 2**48


@dataclass
class Reading:
    """``completed``, ``failed``: ``node scope``. ``output``: of the last node, None where it has none."""

    draws: Draws
    completed: list[str] = field(default_factory=list[str])
    failed: list[str] = field(default_factory=list[str])
    output: Any = None
    status: str = LIVE

    def read(self, parts: list[Part]) -> Reading:
        status, output = self._step("n0", "", LIVE)
        self.status, self.output = self._walk(parts, "", status, output)
        return self

    def _walk(self, parts: list[Part], scope: str, status: str, output: Any) -> tuple[str, Any]:
        for part in parts:
            if status == LIVE:
                status, output = self._part(part, scope, output)
        return status, output if status == LIVE else None

    def _part(self, part: Part, scope: str, given: Any) -> tuple[str, Any]:
        walks: dict[str, Callable[[], tuple[str, Any]]] = {
            "branch": lambda: self._branch(part, scope),
            "loop": lambda: self._loop(part, scope),
            "circle": lambda: self._circle(part, scope),
            "map": lambda: self._map(part, scope),
            "guarded": lambda: (DEAD, None) if _index(scope) == 1 else self._step(part.id, scope, LIVE),
        }
        del given
        return walks.get(part.kind, lambda: self._step(part.id, scope, LIVE))()

    def _step(self, node: str, scope: str, status: str) -> tuple[str, Any]:
        if status != LIVE:
            return status, None
        place = f"{node} {scope}".strip()
        if not self.draws.ok(node, scope):
            self.failed.append(place)
            return FAILED, None
        self.completed.append(place)
        return LIVE, self.draws.output(node, scope)

    def _branch(self, part: Part, scope: str) -> tuple[str, Any]:
        status, output = self._step(part.id, scope, LIVE)
        if status != LIVE:
            return status, None
        side = f"{part.id}{'a' if output['yes'] else 'b'}"
        status, output = self._step(side, scope, LIVE)
        if status != LIVE:
            return status, None
        self.completed.append(f"{part.end} {scope}".strip())
        return LIVE, {side: output}

    def _loop(self, part: Part, scope: str) -> tuple[str, Any]:
        for iteration in range(1, ITERATIONS + 1):
            inside = _below(scope, f"{part.id}#{iteration}")
            status, output = self._step(part.id, inside, LIVE)
            if status != LIVE or not output["yes"]:
                return status, output
        self.failed.append(self.completed.pop())
        return FAILED, None

    def _circle(self, part: Part, scope: str) -> tuple[str, Any]:
        for iteration in range(1, ITERATIONS + 1):
            inside = _below(scope, f"{part.end}#{iteration}")
            status, output = self._step(part.id, inside, LIVE)
            if status == LIVE:
                status, output = self._walk(part.below, inside, status, output)
            if status == LIVE:
                status, output = self._step(part.end, inside, LIVE)
            if status != LIVE or not output["yes"]:
                return status, output
        self.failed.append(self.completed.pop())
        return FAILED, None

    def _map(self, part: Part, scope: str) -> tuple[str, Any]:
        self.completed.append(f"{part.id} {scope}".strip())
        ends = [
            self._walk(part.below, _below(scope, f"{part.id}[{index}]"), LIVE, index) for index in range(part.items)
        ]
        lost = sum(status == FAILED for status, _ in ends)
        place = f"{part.end} {scope}".strip()
        if lost > _allowed(part.policy, part.items):
            self.failed.append(place)
            return FAILED, None
        self.completed.append(place)
        return LIVE, ["lost" if status == FAILED else output for status, output in ends]


def _allowed(policy: Any, items: int) -> int:
    if isinstance(policy, dict):
        return items // 2 if policy["tolerate"] == "50%" else 1  # pyright: ignore[reportUnknownVariableType] - JSON
    return items if policy == "collect" else 0


def _below(scope: str, word: str) -> str:
    return f"{scope}/{word}" if scope else word


def _index(scope: str) -> int:
    """The item of the innermost map."""
    return int(scope.rpartition("[")[2].partition("]")[0])
