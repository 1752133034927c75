"""``courante doctor``: what is used, and whether it keeps what it acknowledges."""

from __future__ import annotations

import sys

import click
from click import style

from ...compiler.diagnostics import Severity
from ...sdk.settings import unknown_variables
from ..api_socket import running_api
from ..call import Call, service_options, with_call
from ..event_loop import run_async
from ..exits import ExitCode
from ..inspection import Inspection, inspect
from ..output import Output
from ..services import open_services


@click.command()
@service_options
@with_call
def doctor(call: Call) -> int:
    """Say what is used and whether it is safe.

    An error breaks a promise of the engine: services refuse to start, and the exit code is 2. A warning only costs work
    to be done again after a crash.
    """
    call.log(default_level="warning")
    with open_services(call) as services:
        found = run_async(lambda: inspect(services))
    url = running_api(call)
    call.out.json({"ok": found.is_ok, **found.to_json(), "api": {"url": url}})
    if not call.is_json:
        _show(call.out, found, url)
    for warning in unknown_variables():
        call.out.note(f"{call.out.glyph('warning')} {warning}")
    return ExitCode.OK if found.is_ok else ExitCode.SERVICE


def _show(out: Output, found: Inspection, api_url: str | None) -> None:
    from ... import __version__

    python = ".".join(map(str, sys.version_info[:3]))
    rows = [
        ["courante", f"{__version__} on Python {python}"],
        ["redis", f"{found.redis_version or 'no answer'}{', embedded' if found.is_own_redis else ''}"],
        ["", found.redis_url],
        ["", found.durability or ""],
        ["postgres", f"{found.postgres_version or 'no answer'}{', embedded' if found.is_own_database else ''}"],
        ["", found.database_url],
        ["api", api_url or "does not run: 'courante api' or 'courante up' starts it"],
    ]
    for name, text in rows:
        if text:
            out.text(f"{style(name.ljust(9), bold=True)} {text}")
    out.text()
    for problem in found.problems:
        glyph = out.glyph("error" if problem.severity is Severity.ERROR else "warning")
        out.text(f"{glyph} {problem.message} [{problem.code}]")
        if problem.hint:
            out.text(f"    {style('hint:', fg='cyan')} {problem.hint}")
    if found.is_ok:
        out.text(f"{out.glyph('ok')} {'usable, with warnings' if found.problems else 'safe'}")
    else:
        out.text(f"{out.glyph('error')} refused: services do not start on this")
