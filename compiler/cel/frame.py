"""The state of one evaluation: what it reads, what it may still spend, its comprehension variables.

One frame per evaluation and thread. The unit of fuel is one node of the syntax tree, about 60 ns; text and lists
are charged by their size before they are made, so neither time nor memory can run away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from .errors import Exhausted

Value: TypeAlias = Any
"""A CEL value as a plain Python object, see ``values``. Checked at run time: CEL is dynamically typed."""

kind_of = cast("Callable[[Value], type[object]]", type)
"""``type``, with a type of its own: which Python class holds a value."""

DEFAULT_BUDGET = 250_000
"""Steps of one evaluation: about 25 ms at worst."""


class Frame:
    """Not thread-safe, never shared. ``slots``: one place per comprehension variable."""

    __slots__ = ("context", "fuel", "slots")

    def __init__(self, context: Mapping[str, object], fuel: int, slots: int = 0) -> None:
        self.context = context
        self.fuel = fuel
        self.slots: list[Value] = [None] * slots

    def charge(self, steps: int) -> None:
        """Spend ``steps``, or raise Exhausted."""
        self.fuel -= steps
        if self.fuel < 0:
            raise Exhausted

    def charge_read(self, length: int) -> None:
        """Spend what scanning text of ``length`` code points or bytes costs."""
        if length > 63:
            self.charge(length >> 6)

    def charge_made(self, length: int) -> None:
        """Spend what making text of ``length`` code points or bytes costs."""
        if length > 15:
            self.charge(length >> 4)


Eval: TypeAlias = Callable[[Frame], Value]
"""One compiled node."""
