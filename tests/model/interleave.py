"""Drive any engine through a random order of deliveries and hold it against the naive reading.

Knows nothing of an engine but the protocol below. After every step it checks what is always true: the counter
is never negative, is the number of living tokens where the engine can list them, comes to zero exactly once,
and no token lives twice. At the end the executed nodes and the status must be those of the reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Protocol, runtime_checkable

from model.reading.graph import Graph
from model.reading.reading import Place, Reading

STEPS_MAX = 100_000


class Engine(Protocol):
    """One run. A token key is any text that names a token; the same token keeps its key."""

    def start(self) -> None: ...

    def tokens(self) -> list[str]:
        """The tokens that may be delivered now, in any order that is the same for the same history."""
        ...

    def deliver(self, token: str) -> None:
        """Deliver a token and work it off completely: handler, transition, and what it causes at once."""
        ...

    def counter(self) -> int: ...

    def status(self) -> str:
        """RUNNING, later COMPLETED or FAILED; what it says while a run drains is not looked at."""
        ...

    def executed(self) -> set[Place]:
        """Nodes whose handler ran, with the scope text as the reading writes it."""
        ...


@runtime_checkable
class Redelivers(Protocol):
    """An engine that can be handed a consumed token again; it must change nothing."""

    def redeliver(self, token: str) -> None: ...


@runtime_checkable
class Lists(Protocol):
    """An engine that can list its living tokens: deliverable, parked, in timers, cursors, skips."""

    def living(self) -> list[str]: ...


class Violation(AssertionError):
    """A rule that is always true was broken. ``steps``: the deliveries up to there, again marked with ``again``."""

    def __init__(self, what: str, steps: list[str]) -> None:
        super().__init__(f"{what}; after {len(steps)} deliveries: {' '.join(steps)}")
        self.what = what
        self.steps = steps


@dataclass(kw_only=True)
class Driven:
    """How a drive went. ``widths``: how many tokens there were to choose from at each delivery."""

    steps: list[str] = field(default_factory=list[str])
    widths: list[int] = field(default_factory=list[int])
    consumed: list[str] = field(default_factory=list[str])
    again: int = 0


def drive_at_random(engine: Engine, seed: int, *, again: float = 0.1) -> Driven:
    """Drive with an order drawn from the seed; ``again`` is the share of steps that deliver something twice."""
    engine.start()
    return drive_on(engine, seed, again=again)


def drive_on(engine: Engine, seed: int, *, again: float = 0.1) -> Driven:
    """As ``drive_at_random``, with an engine that has begun."""
    random = Random(seed)
    eagerness = random.choice((0.0, 0.5, 0.9))

    def choose(tokens: list[str]) -> int:
        """Sometimes the newest first, so that stragglers are left far behind."""
        return len(tokens) - 1 if random.random() < eagerness else random.randrange(len(tokens))

    def repeat(consumed: list[str]) -> str | None:
        return random.choice(consumed) if consumed and random.random() < again else None

    return drive(engine, choose, repeat)


def drive(
    engine: Engine, choose: Callable[[list[str]], int], repeat: Callable[[list[str]], str | None] | None = None
) -> Driven:
    """Deliver what ``choose`` picks until no token is left of a run that has begun, checking every step."""
    driven = Driven()
    _check(engine, driven)
    while tokens := engine.tokens():
        if len(driven.steps) >= STEPS_MAX:
            raise Violation("the run does not end", driven.steps[-50:])
        if engine.counter() == 0:
            raise Violation("tokens are left after the counter came to zero", driven.steps)
        token = tokens[choose(tokens)]
        driven.widths.append(len(tokens))
        driven.steps.append(token)
        engine.deliver(token)
        if token not in _alive(engine):
            driven.consumed.append(token)
        _check(engine, driven)
        _again(engine, driven, repeat)
    if engine.counter() != 0:
        raise Violation(f"no token is left and the counter is {engine.counter()}: the run hangs", driven.steps)
    for token in driven.consumed[-3:]:
        _redeliver(engine, driven, token)
    return driven


def compare(engine: Engine, driven: Driven, graph: Graph, reading: Reading) -> None:
    """Hold a finished engine against the reading: equal under ``continue``, a fitting part under ``fail_fast``."""
    executed = engine.executed()
    if engine.status() != reading.status:
        raise Violation(f"status {engine.status()}, read as {reading.status}", driven.steps)
    if surplus := executed - reading.executed:
        raise Violation(f"executed, but not by the reading: {sorted(surplus)}", driven.steps)
    if not graph.drains or not reading.unhandled:
        if missing := reading.executed - executed:
            raise Violation(f"not executed, but by the reading: {sorted(missing)}", driven.steps)
    elif not executed & reading.unhandled:
        raise Violation("drained without a failure that nobody handles", driven.steps)


def every_order(make: Callable[[], Engine], *, orders_max: int = 10_000) -> Iterator[tuple[Engine, Driven]]:
    """Drive a fresh engine through every order of deliveries, one after another, at most ``orders_max``.

    Cost: the number of orders grows like a factorial; for graphs of four or five nodes.
    """
    path: list[int] = []
    for _ in range(orders_max):
        engine = make()
        engine.start()
        driven = drive(engine, _along([*path]))
        yield engine, driven
        path += [0] * (len(driven.widths) - len(path))
        while path and path[-1] + 1 >= driven.widths[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1


def _along(path: list[int]) -> Callable[[list[str]], int]:
    """Choose as the path says, then always the first."""
    turns = iter(path)
    return lambda _: next(turns, 0)


def _alive(engine: Engine) -> list[str]:
    return engine.living() if isinstance(engine, Lists) else engine.tokens()


def _check(engine: Engine, driven: Driven) -> None:
    counter, alive = engine.counter(), _alive(engine)
    if counter < 0:
        raise Violation(f"counter {counter}", driven.steps)
    if len(set(alive)) != len(alive):
        raise Violation("two living tokens of one key", driven.steps)
    if isinstance(engine, Lists):
        if counter != len(alive):
            raise Violation(f"counter {counter}, living tokens {sorted(alive)}", driven.steps)
        if back := set(alive) & set(driven.consumed):
            raise Violation(f"consumed tokens live again: {sorted(back)}", driven.steps)


def _again(engine: Engine, driven: Driven, repeat: Callable[[list[str]], str | None] | None) -> None:
    token = repeat(driven.consumed) if repeat is not None else None
    if token is not None:
        _redeliver(engine, driven, token)


def _redeliver(engine: Engine, driven: Driven, token: str) -> None:
    """Hand over a consumed token once more; nothing at all may change."""
    if not isinstance(engine, Redelivers):
        return
    before = (engine.counter(), sorted(_alive(engine)), engine.status(), engine.executed())
    engine.redeliver(token)
    driven.again += 1
    driven.steps.append(f"again({token})")
    if (engine.counter(), sorted(_alive(engine)), engine.status(), engine.executed()) != before:
        raise Violation(f"delivering {token} again changed something", driven.steps)
