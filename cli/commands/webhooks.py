"""``courante webhooks``: who is told of what, by a signed request."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio
import click
import msgspec

from ...sdk.stores import webhooks as store
from ...sdk.stores.connection import Connection
from ...sdk.stores.webhooks import DeadDelivery, Webhook, WebhookKind
from ..actors import by_option
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..inputs import bad_option
from ..services import Services, database, open_services, run_async
from ..texts import count_text, iso, printable

T = TypeVar("T")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
LOOK_S = 0.1
TEST_S = 20.0


@click.group()
@service_options
def webhooks() -> None:
    """Tell others of ends of runs, approvals and alerts.

    Requests are signed, and repeated until they are taken; what was given up is kept.
    """


@webhooks.command("add")
@click.argument("name")
@click.argument("url")
@click.option(
    "--on",
    "kinds",
    multiple=True,
    required=True,
    type=click.Choice([str(kind) for kind in WebhookKind]),
    help="What it is told of; may be repeated. run.ended: also of those that failed.",
)
@click.option("--workflow", metavar="ID", help="Only of this workflow.")
@by_option
@service_options
@with_call
def add(call: Call, name: str, url: str, kinds: tuple[str, ...], workflow: str | None, by: str | None) -> None:
    """Tell URL, under this NAME, from now on.

    Prints the key of the signatures, this once.
    """
    _check(name, url)
    if workflow is not None and str(WebhookKind.ALERT) in kinds:
        raise bad_option("--workflow", "does not go with --on alert", "alerts are about the environment")
    secret = f"whsec_{secrets.token_hex(32)}"

    async def ask(conn: Connection, env: str) -> Webhook:
        chosen = sorted(set(kinds))
        if not await store.add_webhook(conn, env, name, url, chosen, secret.encode(), workflow=workflow, by=by):
            hint = f"'courante webhooks remove {name}' takes it away"
            raise CliError(ExitCode.INVALID, "webhook_exists", f"there is a webhook {name!r}", hint)
        return (await store.list_webhooks(conn, env, name))[0]

    made = _ask(call, ask)
    call.out.json({**_json(made), "secret": secret})
    call.out.text(f"{call.out.glyph('ok')} webhook {name}: {', '.join(made.kinds)} to {printable(url)}")
    call.out.text(f"  {secret}")
    call.out.text("  This is the only time that it is shown.")
    call.out.next(f"courante webhooks test {name}")


@webhooks.command("list")
@service_options
@with_call
def list_(call: Call) -> None:
    """List webhooks, with what waits to be sent and what was given up."""
    found = _ask(call, store.list_webhooks)
    call.out.json({"webhooks": [_json(one) for one in found]})
    if not found:
        call.out.text("no webhooks")
        return
    rows = [
        [one.name, ", ".join(one.kinds), one.workflow or "", printable(one.url), str(one.due), str(one.dead)]
        for one in found
    ]
    call.out.table(["name", "on", "workflow", "url", "due", "dead"], rows)


@webhooks.command("remove")
@click.argument("name")
@service_options
@with_call
def remove(call: Call, name: str) -> None:
    """Tell NAME no more.

    What was not sent is dropped.
    """

    async def ask(conn: Connection, env: str) -> Webhook:
        found = await _find(conn, env, name)
        await store.remove_webhook(conn, env, name)
        return found

    found = _ask(call, ask)
    call.out.json({"removed": name, "dropped": found.due + found.dead})
    dropped = f"; {count_text(found.due + found.dead, 'request')} dropped" if found.due + found.dead else ""
    call.out.text(f"{call.out.glyph('ok')} webhook {name} removed{dropped}")


@webhooks.command("test")
@click.argument("name")
@service_options
@with_call
def test(call: Call, name: str) -> int:
    """Send NAME a request of the type test, by a supervisor, and say what became of it."""
    event_id = f"test:{secrets.token_hex(8)}"

    async def ask(conn: Connection, env: str) -> tuple[str, str | None]:
        await _find(conn, env, name)
        body = msgspec.json.encode({"id": event_id, "type": "test", "env": env}).decode()
        await store.tell_a_test(conn, env, name, event_id, body)
        error: str | None = "no supervisor has sent it"
        with anyio.move_on_after(TEST_S):
            while True:
                found = await store.read_delivery(conn, env, name, event_id)
                if found is not None and (found[0] != "due" or found[2] is not None):
                    return found[0], found[2]
                await anyio.sleep(LOOK_S)
        return "due", error

    state, error = _ask(call, ask)
    call.out.json({"webhook": name, "id": event_id, "is_sent": state == "sent", "error": error})
    if state == "sent":
        call.out.text(f"{call.out.glyph('ok')} {name} has taken it")
        return ExitCode.OK
    after = "it was given up" if state == "dead" else "it is tried again"
    call.out.text(f"{call.out.glyph('error')} {name} has not taken it, {after}: {printable(error or '')}")
    return ExitCode.INVALID


@webhooks.command("dlq")
@click.argument("name", required=False)
@click.option("--retry", is_flag=True, help="Send those of NAME again.")
@click.option("--drop", is_flag=True, help="Forget those of NAME.")
@service_options
@with_call
def dlq(call: Call, name: str | None, retry: bool, drop: bool) -> None:
    """List requests that were given up, the oldest first; send them again, or drop them."""
    if (retry or drop) and (name is None or (retry and drop)):
        option = "--retry" if retry else "--drop"
        raise bad_option(option, "is for one webhook", f"courante webhooks dlq NAME {option}")

    async def ask(conn: Connection, env: str) -> tuple[list[DeadDelivery], int]:
        if name is not None:
            await _find(conn, env, name)
        found = await store.list_dead(conn, env, name)
        if name is None or not (retry or drop):
            return found, 0
        act = store.retry_dead if retry else store.drop_dead
        return found, await act(conn, env, name)

    found, count = _ask(call, ask)
    if retry or drop:
        done = "retried" if retry else "dropped"
        call.out.json({"webhook": name, done: count})
        call.out.text(f"{call.out.glyph('ok')} {count_text(count, 'request')} {done}")
        return
    call.out.json({"dead": [_dead_json(one) for one in found]})
    if not found:
        call.out.text("no requests were given up")
        return
    rows = [
        [one.webhook, one.event_id, iso(one.created_at) or "", str(one.attempts), printable(one.error or "")]
        for one in found
    ]
    call.out.table(["webhook", "id", "since", "attempts", "error"], rows)


def _check(name: str, url: str) -> None:
    if not NAME.fullmatch(name):
        hint = "1 to 64 of a-z, 0-9, - and _, the first a letter or digit"
        raise CliError(ExitCode.USAGE, "bad_name", f"{name!r} is no name of a webhook", hint)
    try:
        parts = urlsplit(url)
        is_good = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        is_good = False
    if not is_good or not url.isprintable() or " " in url:
        hint = "for example https://example.com/hooks/courante; a name and a password do not belong in it"
        raise CliError(ExitCode.USAGE, "bad_url", "the URL cannot be used", hint)


async def _find(conn: Connection, env: str, name: str) -> Webhook:
    found = await store.list_webhooks(conn, env, name)
    if not found:
        hint = "'courante webhooks list' shows those of this environment"
        raise CliError(ExitCode.NOT_FOUND, "webhook_not_found", f"there is no webhook {name!r}", hint)
    return found[0]


def _ask(call: Call, ask: Callable[[Connection, str], Awaitable[T]]) -> T:
    call.log(default_level="warning")

    async def asked(services: Services) -> T:
        async with database(services) as conn:
            return await ask(conn, services.settings.env)

    with open_services(call) as services:
        return run_async(lambda: asked(services))


def _json(one: Webhook) -> dict[str, Any]:
    return {
        "name": one.name,
        "url": one.url,
        "on": list(one.kinds),
        "workflow": one.workflow,
        "by": one.by,
        "created_at": iso(one.created_at),
        "due": one.due,
        "dead": one.dead,
    }


def _dead_json(one: DeadDelivery) -> dict[str, Any]:
    return {
        "webhook": one.webhook,
        "id": one.event_id,
        "body": msgspec.json.decode(one.body),
        "attempts": one.attempts,
        "error": one.error,
        "created_at": iso(one.created_at),
    }
