"""Actors: who gives an order. ``--by`` says it; left out, it is the user of the operating system."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def by_option(function: F) -> F:
    """``--by NAME``, handed on as ``by``."""
    help = "Who does this; left out: the user of this machine."
    return click.option("--by", metavar="NAME", default=_user, help=help)(function)


def _user() -> str | None:
    """None where the system knows no name, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None
