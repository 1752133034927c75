"""``courante keys``: keys of the HTTP API."""

from __future__ import annotations

import click
import msgspec

from ...api.wire.keys import key_made, key_page, key_shown
from ...sdk.access.scopes import Scope
from ...sdk.errors import InputInvalid
from ..actors import by_option
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..inputs import read_ahead
from ..services import ask_client
from ..texts import printable
from ..views.keys import key_row, state_text
from ..views.run import utc_now


@click.group()
@service_options
def keys() -> None:
    """Keys of the HTTP API: make, list and revoke them.

    A key is worth something in its environment only, and allows what its scopes say.
    """


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([str(scope) for scope in Scope]),
    help="What it allows; may be repeated. admin stands for all.",
)
@click.option("--expires", metavar="WHEN", help="From when on it is refused: 90d from now, or a time; left out: never.")
@by_option
@service_options
@with_call
def create(call: Call, name: str, scopes: tuple[str, ...], expires: str | None, by: str | None) -> None:
    """Make a key for NAME, and print it this once.

    NAME is a person or a program: it stands as the actor of all that the key is used for.
    """
    from ...sdk.client.access import check_wish

    until = read_ahead(expires, "--expires")
    try:
        check_wish(name, scopes, until, by)
    except InputInvalid as error:
        raise CliError(ExitCode.USAGE, error.code, error.message, error.hint) from error
    made, text = ask_client(call, lambda client: client.access.create_key(name, scopes, expires_at=until, by=by))
    call.out.json(msgspec.to_builtins(key_made(made, text)))
    call.out.text(
        f"{call.out.glyph('ok')} key {printable(name)}, {state_text(made, utc_now())}: {', '.join(made.scopes)}"
    )
    call.out.text(f"  {text}")
    call.out.text("  This is the only time that it is shown.")
    call.out.next("curl -H 'Authorization: Bearer KEY' http://HOST/v1/runs")


@keys.command("list")
@click.option("--all", "is_all", is_flag=True, help="Also those that have expired or were revoked.")
@service_options
@with_call
def list_(call: Call, is_all: bool) -> None:
    """List keys, without what proves them."""
    found = ask_client(call, lambda client: client.access.list_keys(is_all=is_all))
    call.out.json(msgspec.to_builtins(key_page(found)))
    if not found:
        call.out.text("no keys")
        call.out.next("courante keys create NAME --scope read")
        return
    now = utc_now()
    call.out.table(["id", "name", "scopes", "used", "state"], [key_row(key, now) for key in found])


@keys.command("revoke")
@click.argument("key")
@by_option
@service_options
@with_call
def revoke(call: Call, key: str, by: str | None) -> None:
    """Revoke a KEY, by its id or name.

    Servers refuse it within ten seconds, and end the sessions that were opened with it.
    """
    from ...sdk.client.access import check_word

    try:
        check_word(key)
    except InputInvalid as error:
        raise CliError(ExitCode.USAGE, error.code, error.message, error.hint) from error
    revoked = ask_client(call, lambda client: client.access.revoke_key(key, by=by))
    call.out.json(msgspec.to_builtins(key_shown(revoked)))
    call.out.text(
        f"{call.out.glyph('ok')} key {printable(revoked.name)} ({revoked.id}) {state_text(revoked, utc_now())}"
    )
