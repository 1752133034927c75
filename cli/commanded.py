"""Commanded: how people and scripts are told what became of a command, and the options that commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .call import Call
from .exits import CliError, ExitCode
from .inputs import read_json

if TYPE_CHECKING:
    from ..sdk.client.control import Commanded

F = TypeVar("F", bound=Callable[..., Any])


def data_option(help: str) -> Callable[[F], F]:
    """``--data JSON``, handed on decoded; None where it is left out."""

    def read(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Any:
        return None if text is None else read_json(text, "--data")

    return click.option("--data", metavar="JSON", callback=read, help=help)


def reason_option(function: F) -> F:
    """``--reason``, empty where it is left out."""
    return click.option("--reason", default="", metavar="TEXT", help="Why; it is kept in the log.")(function)


def scope_option(function: F) -> F:
    """``--scope``, empty where it is left out."""
    help = "Which one, of a step in a loop or a map: as 'status' shows it."
    return click.option("--scope", default="", metavar="SCOPE", help=help)(function)


def tell(
    call: Call, commanded: Commanded, done: str, more: Mapping[str, object] | None = None, *, next: str = "status"
) -> None:
    """Tell one command. done: a sentence for people, true where it is applied. more: what the JSON has besides.

    next: the command after this one.
    """
    out = call.out
    given = {"by": commanded.by, "state": commanded.state, "reason": commanded.reason}
    out.json({"run_id": commanded.run_id, **(more or {}), **given})
    if commanded.state == "applied":
        out.text(f"{out.glyph('ok')} {done}")
    elif commanded.state == "accepted":
        out.text(f"{out.glyph('warning')} it is kept and takes effect later: {commanded.reason}")
    else:
        out.text(f"{out.glyph('idle')} no effect: {commanded.reason}")
        next = "status"
    out.next(f"courante {next} {commanded.run_id}")


def refuse(option: str, because: str) -> CliError:
    """An option that makes no sense beside another one."""
    return CliError(ExitCode.USAGE, "usage", f"{option} {because}", f"leave out {option}")
