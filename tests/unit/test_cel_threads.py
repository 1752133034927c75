"""One expression, many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from courante.compiler.cel import compile_expression

ROOTS = frozenset({"input", "item"})
SOURCE = "input.list.map(x, input.list.filter(y, y > x).size() + item).exists(z, z == item)"
THREADS = 8


def test_threads_share_an_expression() -> None:
    """Evaluations at the same time do not see each other's variables or budgets."""
    expression = compile_expression(SOURCE, roots=ROOTS)
    barrier = Barrier(THREADS)

    def run(number: int) -> set[object]:
        barrier.wait()
        contexts = [{"input": {"list": list(range(number + size))}, "item": number} for size in range(1, 20)]
        return {expression.evaluate(context) for context in contexts for _ in range(10)}

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(run, range(THREADS))) == [{True}] * THREADS


def test_threads_compile_at_once() -> None:
    """The parser is shared under a lock: sources do not mix."""
    barrier = Barrier(THREADS)

    def run(number: int) -> list[object]:
        barrier.wait()
        return [
            compile_expression(f"input + {number * 100 + n}", roots=ROOTS).evaluate({"input": 0}) for n in range(20)
        ]

    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(run, range(THREADS)))
    assert results == [[number * 100 + n for n in range(20)] for number in range(THREADS)]
