"""Confirming: what cannot be undone is done when somebody has said so."""

from __future__ import annotations

import sys

import click

from .call import Call
from .exits import CliError, ExitCode


def confirm_for_good(call: Call, question: str, *, is_sure: bool) -> None:
    """Ask the person at the terminal, unless they have said ``--yes``. Raises CliError for a no.

    Where there is nobody to ask it is a no: a script says --yes.
    """
    if is_sure:
        return
    if call.is_json or not sys.stdin.isatty():
        hint = "--yes does it without asking, --dry-run says what it would do"
        raise CliError(ExitCode.USAGE, "not_confirmed", f"nobody can be asked: {question}", hint)
    if not click.confirm(question, err=True):
        raise CliError(ExitCode.CANCELLED, "not_confirmed", "nothing was changed", "--yes does it without asking")
