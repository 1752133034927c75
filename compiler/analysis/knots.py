"""Knots: the nodes of a graph that lead to each other in circles, as sets that have nothing in common."""

from __future__ import annotations

from typing import Protocol


class _Graph(Protocol):
    def targets(self, node: int) -> list[int]: ...


def find_knots(graph: _Graph, nodes: set[int]) -> list[set[int]]:
    """Return the strongly connected parts with a circle among ``nodes``, by their first node (Tarjan 1972).

    Linear, without recursion.
    """
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    knots: list[set[int]] = []
    for root in sorted(nodes):
        if root in number:
            continue
        ways = [(root, iter(graph.targets(root)))]
        number[root] = low[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        while ways:
            node, targets = ways[-1]
            for target in targets:
                if target not in nodes:
                    continue
                if target not in number:
                    number[target] = low[target] = len(number)
                    stack.append(target)
                    on_stack.add(target)
                    ways.append((target, iter(graph.targets(target))))
                    break
                if target in on_stack:
                    low[node] = min(low[node], number[target])
            else:
                ways.pop()
                if ways:
                    low[ways[-1][0]] = min(low[ways[-1][0]], low[node])
                if low[node] == number[node]:
                    knots += _taken(graph, stack, on_stack, node)
    return sorted(knots, key=min)


def _taken(graph: _Graph, stack: list[int], on_stack: set[int], node: int) -> list[set[int]]:
    """Take the part of ``node`` off the stack; it is a knot where something leads back into it."""
    part: set[int] = set()
    while node not in part:
        part.add(stack.pop())
    on_stack -= part
    return [part] if len(part) > 1 or node in graph.targets(node) else []
