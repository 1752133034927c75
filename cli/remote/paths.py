"""Paths of the API's routes. Pure, and without the client that asks at them."""

from __future__ import annotations

from urllib.parse import quote

from ..exits import CliError, ExitCode


def at(*parts: str | int) -> str:
    """Return the path of a route: ``at("runs", run_id, "events")`` is ``/v1/runs/<run_id>/events``.

    Raises CliError: a name that is empty would make it another place.
    """
    if "" in parts:
        message = f"there is nothing of no name among the {parts[0]}"
        raise CliError(ExitCode.NOT_FOUND, "name_missing", message, "is a variable of the shell empty?")
    return "/v1/" + "/".join(_quoted(str(part)) for part in parts)


def _quoted(part: str) -> str:
    """Dots alone would mean another place."""
    return quote(part, safe="") if part.strip(".") else part.replace(".", "%2E")
