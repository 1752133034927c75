"""``courante audit``: bundles that anybody can check, and the keys to sign them."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO

import click
import msgspec
from click import style

from ..actors import by_option
from ..call import Call, json_option, service_options, with_call
from ..exits import CliError, ExitCode
from ..inputs import read_since
from ..output import Output, ReaderGone
from ..services import Services, database, open_services, run_async, set_payload_terms
from ..texts import count_text

if TYPE_CHECKING:
    from ...replay.audit.run_check import Bad
    from ...replay.audit.signing import Signer
    from ...replay.audit.verify import BundleVerification
    from ...sdk.stores.connection import Connection

STANDARD = "-"
COPY_BYTES = 1024 * 1024
TOLD_EVERY = 50_000
"""Events between two words of progress."""
BAD_SHOWN_MAX = 20


@click.group()
@service_options
def audit() -> None:
    """Export runs for an audit, and check what was exported.

    A bundle needs no server to be checked, and no trust in who keeps it: it holds the hash chain of every run. That no
    run was rewritten afterwards, by somebody who makes all hashes again, shows by its signature.
    """


@audit.command()
@click.argument("run_ids", metavar="[RUN]...", nargs=-1)
@click.option("--workflow", metavar="ID", help="Runs of this workflow.")
@click.option("--status", metavar="STATUS", help="Runs with this status, for example COMPLETED or failed.")
@click.option("--since", metavar="WHEN", help="Runs accepted since: 30m, 2h, 7d or a time.")
@click.option(
    "--output", "target", metavar="FILE", default=STANDARD, help="Write the bundle there; left out or '-': to stdout."
)
@click.option("--without-payloads", is_flag=True, help="Leave out inputs, outputs and what people said.")
@click.option("--sign", "key_file", metavar="KEYFILE", help="Sign with this private key ('courante audit keygen').")
@by_option
@service_options
@with_call
def export(
    call: Call,
    run_ids: tuple[str, ...],
    workflow: str | None,
    status: str | None,
    since: str | None,
    target: str,
    without_payloads: bool,
    key_file: str | None,
    by: str | None,
) -> None:
    """Write runs as a bundle: one JSON object a line, that 'courante audit verify' checks anywhere.

    RUN are ids of runs; without any, those that the options say. Payloads are written as they are stored: encrypted
    ones stay so.
    """
    filters = {"workflow": workflow, "status": status}
    moment = read_since(since)
    if bool(run_ids) == (moment is not None or any(filters.values())):
        hint = "give ids of runs, or --workflow, --status or --since"
        raise CliError(
            ExitCode.USAGE, "usage", "which runs?" if not run_ids else "RUN and filters exclude each other", hint
        )
    if call.is_json and target == STANDARD:
        raise CliError(
            ExitCode.USAGE, "usage", "--json and a bundle on standard output exclude each other", "give --output FILE"
        )
    call.log(default_level="warning")
    signer = read_signer(key_file)

    async def go(services: Services, file: BinaryIO) -> tuple[int, int, str]:
        from ...replay.audit.export import Exporter

        env, told = services.settings.env, Told(call.out)
        async with database(services) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            exporter = Exporter(conn, env, file.write, has_payloads=not without_payloads)
            exporter.begin(by or "")
            async for run_id in _selected(conn, env, run_ids, moment, filters):
                await exporter.add(run_id)
                told.events(exporter.events)
            found = exporter.end(signer)
        return exporter.runs, exporter.events, found

    with open_services(call) as services, open_target(target) as file:
        runs, events, found = run_async(lambda: go(services, file))
    said = {"output": target, "runs": runs, "events": events, "sha256": found}
    call.out.json({**said, "signed_by": signer.public if signer else None})
    if not call.is_json:
        line = f"{count_text(runs, 'run')}, {count_text(events, 'event')}, sha256 {found}"
        call.out.note(f"{call.out.glyph('ok')} {line}{', signed' if signer else ''}")
        if target != STANDARD:
            call.out.next(f"courante audit verify {target}")


async def _selected(
    conn: Connection,
    env: str,
    run_ids: tuple[str, ...],
    since: datetime | None,
    filters: dict[str, str | None],
) -> AsyncGenerator[str]:
    """The runs that were asked for: as they were named, else the newest first."""
    from ...sdk.stores.runs import LIMIT_MAX, list_runs

    for run_id in run_ids:
        yield run_id
    cursor: str | None = None
    while not run_ids:
        page = await list_runs(conn, env, since=since, limit=LIMIT_MAX, cursor=cursor, **filters)
        for run in page.runs:
            yield run.run_id
        if page.next is None:
            return
        cursor = page.next


@audit.command()
@click.argument("file")
@click.option("--key", "key_file", metavar="PUBKEY", help="The bundle must be signed by this public key.")
@json_option
@with_call
def verify(call: Call, file: str, key_file: str | None) -> int:
    """Check a bundle without any server: every line, chain, payload and decision.

    FILE is a bundle; '-' reads standard input. Exits with 1 where something is bad, and names the first bad event of
    each run. Encrypted payloads are read with the key ring of the settings; without it what needs them is unchecked.
    """
    from ...replay.audit.verify import verify_bundle

    set_payload_terms(call.settings)
    key = read_public_key(key_file)
    told = Told(call.out)
    with open_source(file) as content:
        found = run_async(lambda: verify_bundle(content, key=key, progress=told.events))
    call.out.json(_verified_json(found, key))
    if not call.is_json:
        _show_verified(call.out, file, found, key)
    return ExitCode.OK if found.ok else ExitCode.INVALID


@audit.command()
@click.option(
    "--output", "target", metavar="FILE", default="courante-audit.pem", show_default=True, help="The private key."
)
@json_option
@with_call
def keygen(call: Call, target: str) -> None:
    """Make a pair of Ed25519 keys: FILE signs, FILE.pub is for those who check.

    Nothing is overwritten. Keep the private key where who can write to the database cannot read it.
    """
    from ...replay.audit.signing import make_keys

    public = f"{target}.pub"
    key = make_keys(Path(target), Path(public))
    call.out.json({"private": target, "public": public, "key": key})
    call.out.text(f"{call.out.glyph('ok')} {target} signs, {public} checks")
    call.out.text(f"  key {key}")
    call.out.next(f"courante audit export --since 7d --output bundle.jsonl --sign {target}")


class Told:
    """Progress, to stderr, where somebody looks at it."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._next = TOLD_EVERY

    def events(self, count: int) -> None:
        if count >= self._next:
            self._next = count - count % TOLD_EVERY + TOLD_EVERY
            if self._out.is_error_terminal:
                self._out.note(style(f"{count:,} events", dim=True))


def read_signer(file: str | None) -> Signer | None:
    """Raises KeyUnusable."""
    if file is None:
        return None
    from ...replay.audit.signing import Signer

    return Signer.read(Path(file))


def read_public_key(file: str | None) -> str | None:
    """Raises KeyUnusable."""
    if file is None:
        return None
    from ...replay.audit.signing import read_public

    return read_public(Path(file))


@contextmanager
def open_target(target: str) -> Generator[BinaryIO]:
    """A file that is there only when it is whole, or standard output. Raises CliError, ReaderGone."""
    if target == STANDARD:
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError as cause:
            raise ReaderGone from cause
        return
    part = Path(f"{target}.part")
    try:
        file = part.open("wb")
    except OSError as cause:
        raise CliError(ExitCode.USAGE, "file_not_writable", f"{target} cannot be written: {cause.strerror}") from cause
    try:
        with file:
            yield file
        part.replace(target)
    except OSError as cause:
        raise CliError(ExitCode.USAGE, "file_not_writable", f"{target} cannot be written: {cause.strerror}") from cause
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def open_source(name: str) -> Generator[BinaryIO]:
    """A file that can be read twice; standard input is copied first. Raises CliError."""
    if name == STANDARD:
        with TemporaryFile() as copy:
            while chunk := sys.stdin.buffer.read(COPY_BYTES):
                copy.write(chunk)
            copy.seek(0)
            yield copy
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below
    except OSError as cause:
        raise CliError(ExitCode.NOT_FOUND, "file_not_found", f"{name} cannot be read: {cause.strerror}") from cause
    with file:
        yield file


def _verified_json(found: BundleVerification, key: str | None) -> dict[str, object]:
    return {
        "ok": found.ok,
        "runs": found.runs,
        "events": found.events,
        "decisions": found.decisions,
        "unchecked": found.unchecked,
        "env": found.env,
        "exported_at": found.at,
        "signed_by": found.signed_by or None,
        "is_key_checked": key is not None,
        "bad_count": found.bad_count,
        "bad": msgspec.to_builtins(found.bad),
    }


def _show_verified(out: Output, name: str, found: BundleVerification, key: str | None) -> None:
    verdict = (
        "the bundle holds together" if found.ok else f"{count_text(found.bad_count, 'thing is', 'things are')} bad"
    )
    out.text(
        f"{out.glyph('ok' if found.ok else 'error')} {name}: {count_text(found.runs, 'run')}, "
        f"{count_text(found.events, 'event')}, {count_text(found.decisions, 'decision')}: {verdict}"
    )
    show_bad(out, found.bad, found.bad_count)
    if found.unchecked:
        out.text(f"  {count_text(found.unchecked, 'decision')} unchecked: payloads are emptied, left out or encrypted")
    if not found.ok:
        return
    if key is not None:
        out.text(f"  signed by {found.signed_by}, as it should be")
    elif found.signed_by:
        out.text(f"  signed by {found.signed_by}; --key PUBKEY says whether that is the right one")
    else:
        out.text("  not signed: only a signature could show that it was not made up as a whole")


def show_bad(out: Output, bad: list[Bad], count: int) -> None:
    """What is wrong, for people: the first things."""
    for one in bad[:BAD_SHOWN_MAX]:
        place = " ".join(filter(None, (one.run_id or "", f"event {one.seq}" if one.seq is not None else "")))
        told = f"expected {one.expected}; found {one.found}" if one.expected else one.found
        out.text(f"  {out.glyph('error')} {f'{place}: ' if place else ''}{style(one.what, bold=True)}: {told}")
    if count > BAD_SHOWN_MAX:
        out.text(f"  and {count - BAD_SHOWN_MAX:,} more")
