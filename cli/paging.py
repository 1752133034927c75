"""Paging: ``--limit`` and ``--after`` of lists that are ordered by id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def page_options(function: F) -> F:
    """Handed on as ``limit`` and ``after``."""
    kind = click.IntRange(1, 1000)
    after = click.option("--after", default="", metavar="ID", help="Go on after this id.")(function)
    return click.option("--limit", type=kind, default=100, show_default=True, metavar="N", help="At most so many.")(
        after
    )
