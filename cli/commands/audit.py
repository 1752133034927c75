"""``courante audit``: bundles that anybody can check, anchors of what the log says, and the keys to sign both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ..actors import by_option
from ..asking import ask, look_up
from ..audit_files import (
    STANDARD,
    Told,
    append_line,
    open_source,
    open_target,
    read_anchor_lines,
    read_public_key,
    read_signer,
    show_bad,
)
from ..call import Call, json_option, service_options, with_call
from ..event_loop import run_async
from ..exits import CliError, ExitCode
from ..inputs import read_since
from ..output import Output
from ..remote.paths import at
from ..services import Services, database, set_payload_terms
from ..texts import count_text, iso
from .operators import operators

if TYPE_CHECKING:
    from ...replay.audit.anchor_lines import AnchorBook
    from ...replay.audit.anchors import Anchored, AnchorsChecked
    from ...replay.audit.verify import BundleVerification
    from ...sdk.stores.connection import Connection as Database
    from ..remote.connection import Connection


@click.group()
@service_options
def audit() -> None:
    """Export runs for an audit, check what was exported, and anchor what the log says.

    A bundle needs no server to be checked, and no trust in who keeps it: it holds the hash chain of every run. That no
    run was rewritten by somebody who makes all hashes again shows by a signature, or by an anchor that was kept.
    """


audit.add_command(operators)


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
    signer = read_signer(key_file)
    told = Told(call.out)

    async def here(services: Services) -> tuple[int, int, str]:
        from ...replay.audit.export import Exporter
        from ...sdk.stores.runs import select_runs

        env = services.settings.env
        async with database(services) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            exporter = Exporter(conn, env, file.write, has_payloads=not without_payloads)
            exporter.begin(by or "")
            async for run_id in _selected(run_ids, select_runs(conn, env, since=moment, **filters)):
                await exporter.add(run_id)
                told.events(exporter.events)
            found = exporter.end(signer)
        return exporter.runs, exporter.events, found

    async def over_api(api: Connection) -> tuple[int, int, str]:
        from ..remote.bundles import fetch_bundle

        which: dict[str, object] = {"runs": run_ids} if run_ids else {**filters, "since": iso(moment)}
        wanted = {**which, "payloads": not without_payloads, "by": by}
        made = await fetch_bundle(api, wanted, file.write, signer, told.events)
        return made.runs, made.events, made.sha256

    with open_target(target) as file:
        runs, events, found = ask(call, here, over_api)
    said = {"output": target, "runs": runs, "events": events, "sha256": found}
    call.out.json({**said, "signed_by": signer.public if signer else None})
    if not call.is_json:
        line = f"{count_text(runs, 'run')}, {count_text(events, 'event')}, sha256 {found}"
        glyph, nothing = call.out.glyph("ok" if runs else "warning"), "" if runs else "; there are no such runs"
        call.out.note(f"{glyph} {line}{', signed' if signer else ''}{nothing}")
        if target != STANDARD:
            call.out.next(f"courante audit verify {target}")


async def _selected(named: tuple[str, ...], found: AsyncIterator[str]) -> AsyncIterator[str]:
    """The runs that were named, or else those that were found."""
    for run_id in named:
        yield run_id
    if not named:
        async for run_id in found:
            yield run_id


@audit.command()
@click.argument("file")
@click.option("--key", "key_file", metavar="PUBKEY", help="The bundle must be signed by this public key.")
@click.option(
    "--anchors", "anchors_file", metavar="FILE", help="The last event of each run must be in an anchor of these."
)
@json_option
@with_call
def verify(call: Call, file: str, key_file: str | None, anchors_file: str | None) -> int:
    """Check a bundle without any server: every line, chain, payload and decision.

    FILE is a bundle; '-' reads standard input. Exits with 1 where something is bad, and names the first bad event of
    each run. Encrypted payloads are read with the key ring of the settings; without it what needs them is unchecked.
    """
    from ...replay.audit.verify import verify_bundle

    set_payload_terms(call.settings)
    key = read_public_key(key_file)
    book = None if anchors_file is None else _read_book(anchors_file, key)
    told = Told(call.out)
    with open_source(file) as content:
        found = run_async(lambda: verify_bundle(content, key=key, book=book, progress=told.events))
    call.out.json({**_verified_json(found, key), "is_anchored": None if book is None else found.ok})
    if not call.is_json:
        _show_verified(call.out, file, found, key, is_anchored=book is not None)
        if book is not None and found.ok:
            call.out.text("  the last event of each run is in one of the anchors")
    return ExitCode.OK if found.ok else ExitCode.INVALID


def _read_book(file: str, key: str | None) -> AnchorBook:
    from ...replay.audit.anchor_lines import AnchorBook

    book = AnchorBook(key)
    for content in read_anchor_lines(file):
        book.add(content)
    return book


@audit.command()
@click.option("--output", "target", metavar="FILE", help="Add the line to this file; left out: to stdout.")
@click.option("--sign", "key_file", metavar="KEYFILE", help="Sign with this private key ('courante audit keygen').")
@service_options
@with_call
def anchor(call: Call, target: str | None, key_file: str | None) -> int:
    """Anchor the chains of all runs that have moved since the last anchor, in one line.

    Let somebody keep the line who is not trusted with the database, once a day. A run whose chain does not hold is not
    anchored but told, and the command exits with 1. 'courante audit anchors' tells all lines again.
    """
    signer = read_signer(key_file)

    async def here(conn: Database, env: str) -> Anchored:
        from ...replay.audit.anchors import make_anchor

        return await make_anchor(conn, env, signer)

    async def over_api(api: Connection) -> Anchored:
        from ..remote.anchors import make_anchor

        return await make_anchor(api, signer)

    made = look_up(call, here, over_api)
    if target is not None:
        append_line(target, made.content)
    else:
        call.out.text(made.content.decode())
    bad = msgspec.to_builtins(made.bad)
    call.out.json({"ok": not made.bad, "line": made.content.decode(), **msgspec.to_builtins(made.line), "bad": bad})
    if not call.is_json:
        glyph = call.out.glyph("error" if made.bad else "ok")
        call.out.note(f"{glyph} anchor {made.line.number}: {count_text(made.line.heads, 'run')} under {made.line.root}")
        show_bad(call.out, made.bad, len(made.bad), tell=call.out.note)
    return ExitCode.INVALID if made.bad else ExitCode.OK


@audit.command()
@service_options
@with_call
def anchors(call: Call) -> None:
    """Write all anchors of the environment, a line each, as they were made."""

    async def here(conn: Database, env: str) -> None:
        from ...sdk.stores.anchors import read_anchors

        async for _, line in read_anchors(conn, env):
            click.echo(line)

    async def over_api(api: Connection) -> None:
        async with api.reading(at("audit", "anchors")) as parts:
            async for part in parts:
                click.echo(part, nl=False)

    look_up(call, here, over_api)


@audit.command("check-anchors")
@click.argument("file")
@click.option("--key", "key_file", metavar="PUBKEY", help="Each anchor must be signed by this public key.")
@click.option(
    "--chains", "with_chains", is_flag=True, help="Follow each run from its first event; reads all of the log."
)
@service_options
@with_call
def check_anchors(call: Call, file: str, key_file: str | None, with_chains: bool) -> int:
    """Hold anchors that somebody has kept against the log.

    FILE has the lines of 'courante audit anchor'; '-' reads standard input. Exits with 1 where the log does not have an
    event as it was anchored. Without --chains only anchored events are looked at, not those before them.
    """
    key, lines = read_public_key(key_file), list(read_anchor_lines(file))

    async def here(conn: Database, env: str) -> AnchorsChecked:
        from ...replay.audit.anchors import check_anchors as check

        return await check(conn, env, lines, key=key, with_chains=with_chains)

    async def over_api(api: Connection) -> AnchorsChecked:
        from ..remote.anchors import check_anchors as check

        return await check(api, lines, key=key, with_chains=with_chains)

    found = look_up(call, here, over_api)
    call.out.json(msgspec.to_builtins(found))
    verdict = "the log has what they say" if found.ok else "the log does not have what they say"
    counts = f"{count_text(found.anchors, 'anchor')}, {count_text(found.heads, 'head')}"
    call.out.text(f"{call.out.glyph('ok' if found.ok else 'error')} {counts}: {verdict}")
    if not call.is_json:
        show_bad(call.out, found.bad, len(found.bad))
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


def _show_verified(out: Output, name: str, found: BundleVerification, key: str | None, *, is_anchored: bool) -> None:
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
    elif not is_anchored:
        out.text("  not signed: that it was not made up as a whole, only a signature or an anchor can show")
