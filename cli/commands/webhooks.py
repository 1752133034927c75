"""``courante webhooks``: who is told of what, by a signed request."""

from __future__ import annotations

import click
import msgspec

from ...api.wire.webhooks import (
    DeadDropped,
    DeadRequests,
    DeadRetried,
    WebhookPage,
    WebhookRemoved,
    dead_request,
    webhook_made,
    webhook_shown,
    webhook_tested,
)
from ...sdk.stores.webhooks import WebhookKind
from ..actors import by_option
from ..call import Call, service_options, with_call
from ..exits import ExitCode
from ..inputs import bad_option
from ..services import ask_client
from ..texts import count_text, iso, printable


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
    made, secret = ask_client(call, lambda client: client.webhooks.add(name, url, kinds, workflow=workflow, by=by))
    call.out.json(msgspec.to_builtins(webhook_made(made, secret)))
    call.out.text(f"{call.out.glyph('ok')} webhook {name}: {', '.join(made.kinds)} to {printable(url)}")
    call.out.text(f"  {secret}")
    call.out.text("  This is the only time that it is shown.")
    call.out.next(f"courante webhooks test {name}")


@webhooks.command("list")
@service_options
@with_call
def list_(call: Call) -> None:
    """List webhooks, with what waits to be sent and what was given up."""
    found = ask_client(call, lambda client: client.webhooks.list())
    call.out.json(msgspec.to_builtins(WebhookPage(webhooks=[webhook_shown(one) for one in found])))
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
@by_option
@service_options
@with_call
def remove(call: Call, name: str, by: str | None) -> None:
    """Tell NAME no more.

    What was not sent is dropped.
    """
    count = ask_client(call, lambda client: client.webhooks.remove(name, by=by))
    call.out.json(msgspec.to_builtins(WebhookRemoved(removed=name, dropped=count)))
    dropped = f"; {count_text(count, 'request')} dropped" if count else ""
    call.out.text(f"{call.out.glyph('ok')} webhook {name} removed{dropped}")


@webhooks.command("test")
@click.argument("name")
@service_options
@with_call
def test(call: Call, name: str) -> int:
    """Send NAME a request of the type test, by a supervisor, and say what became of it."""
    found = ask_client(call, lambda client: client.webhooks.test(name))
    call.out.json(msgspec.to_builtins(webhook_tested(found)))
    if found.state == "sent":
        call.out.text(f"{call.out.glyph('ok')} {name} has taken it")
        return ExitCode.OK
    after = "it was given up" if found.state == "dead" else "it is tried again"
    call.out.text(f"{call.out.glyph('error')} {name} has not taken it, {after}: {printable(found.error or '')}")
    return ExitCode.INVALID


@webhooks.command("dlq")
@click.argument("name", required=False)
@click.option("--retry", is_flag=True, help="Send those of NAME again.")
@click.option("--drop", is_flag=True, help="Forget those of NAME.")
@by_option
@service_options
@with_call
def dlq(call: Call, name: str | None, retry: bool, drop: bool, by: str | None) -> None:
    """List requests that were given up, the oldest first; send them again, or drop them."""
    if (retry or drop) and (name is None or (retry and drop)):
        option = "--retry" if retry else "--drop"
        raise bad_option(option, "is for one webhook", f"courante webhooks dlq NAME {option}")

    if name is not None and retry:
        count = ask_client(call, lambda client: client.webhooks.retry_dead(name, by=by))
        call.out.json(msgspec.to_builtins(DeadRetried(webhook=name, retried=count)))
        call.out.text(f"{call.out.glyph('ok')} {count_text(count, 'request')} retried")
        return
    if name is not None and drop:
        count = ask_client(call, lambda client: client.webhooks.drop_dead(name, by=by))
        call.out.json(msgspec.to_builtins(DeadDropped(webhook=name, dropped=count)))
        call.out.text(f"{call.out.glyph('ok')} {count_text(count, 'request')} dropped")
        return
    found = ask_client(call, lambda client: client.webhooks.dead(name))
    call.out.json(msgspec.to_builtins(DeadRequests(dead=[dead_request(one) for one in found])))
    if not found:
        call.out.text("no requests were given up")
        return
    rows = [
        [one.webhook, one.event_id, iso(one.created_at) or "", str(one.attempts), printable(one.error or "")]
        for one in found
    ]
    call.out.table(["webhook", "id", "since", "attempts", "error"], rows)
