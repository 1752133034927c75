"""``courante run``: submit a run, bring along whoever is missing to work on it, and wait for the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..actors import by_option
from ..apps import load_apps
from ..asking import ask
from ..call import Call, service_options, setting_option, with_call
from ..documents import STDIN, Document, compile_file
from ..exits import CliError, ExitCode
from ..inputs import read_ahead, read_input
from ..running import Request, run_and_wait, submit_only

if TYPE_CHECKING:
    from ..remote.connection import Connection

FILE_SUFFIXES = (".yaml", ".yml", ".json")


@click.command()
@click.argument("target", metavar="FILE|ID")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="One input; VALUE is JSON or text.")
@click.option("--input-file", metavar="FILE", help="The input as JSON or YAML; '-' reads standard input.")
@click.option("--key", metavar="KEY", help="Idempotency key: the same key is the same run.")
@click.option("--app", "apps", multiple=True, metavar="MODULE", help="Module of steps to import; may be repeated.")
@click.option("--version", type=int, metavar="N", help="Version of a registered workflow; left out: the latest.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Word to find the run by; may be repeated.")
@click.option("--start-at", metavar="WHEN", help="Not before: 30m, 2h from now, or a time.")
@click.option("--expires-at", metavar="WHEN", help="Not started after: 30m, 2h from now, or a time.")
@click.option("--detach", is_flag=True, help="Do not wait: print the run's id.")
@by_option
@setting_option(
    "--concurrency", "concurrency", metavar="N", help="Steps that a worker of its own runs at once; left out: 128."
)
@service_options
@with_call
def run(
    call: Call,
    target: str,
    inputs: tuple[str, ...],
    input_file: str | None,
    key: str | None,
    apps: tuple[str, ...],
    version: int | None,
    tags: tuple[str, ...],
    start_at: str | None,
    expires_at: str | None,
    detach: bool,
    by: str | None,
) -> int:
    """Run a workflow and wait for its result; works with nothing running.

    FILE is registered first; ID is a workflow that is registered already. Without a live worker or supervisor the
    command brings its own. Ctrl-C stops waiting; the run is kept.

    Exits with 0 when the run is COMPLETED, 5 FAILED, 4 CANCELLED, 6 TIMED_OUT, 130 after Ctrl-C.
    """
    if target == STDIN and input_file == STDIN:
        raise CliError(ExitCode.USAGE, "usage", "standard input cannot hold both the workflow and the input")
    document = _read_target(target)
    if document is not None and version is not None:
        hint = f"run the version by the workflow's id, or leave out --version {version}"
        raise CliError(ExitCode.USAGE, "usage", "--version is for a registered workflow, not for a file", hint)
    workflow = target if document is None else document.require(call.out)[0].id
    steps = load_apps(apps)
    request = Request(
        workflow=workflow,
        document=document,
        input=read_input(inputs, input_file),
        version=version,
        key=key,
        tags=tags,
        by=by,
        start_at=read_ahead(start_at, "--start-at"),
        expires_at=read_ahead(expires_at, "--expires-at"),
        has_apps=bool(apps),
    )
    return ask(
        call,
        lambda services: (
            submit_only(call, services, request) if detach else run_and_wait(call, services, request, steps)
        ),
        lambda api: _run_over_api(call, api, request, is_detached=detach),
    )


async def _run_over_api(call: Call, api: Connection, request: Request, *, is_detached: bool) -> int:
    from ..remote.running import run_over_api

    return await run_over_api(call, api, request, is_detached=is_detached)


def _read_target(target: str) -> Document | None:
    """The file, or None where the target is the id of a workflow."""
    is_file = target == STDIN or "/" in target or target.endswith(FILE_SUFFIXES) or Path(target).is_file()
    return compile_file(target) if is_file else None
