"""``courante events``: the event log of a run, from its first event on, and as it grows."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial

import anyio
import click
import msgspec
from click import style

from ...api.wire.events import Numbers, event_of
from ...compiler.ir import decode_ir
from ...sdk.events import RecordedEvent
from ...sdk.fold_ends import FINAL
from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import UnknownRun
from ...sdk.stores.log import read_events
from ...sdk.stores.payloads import resolve
from ...sdk.stores.runs import get_run
from ...sdk.stores.workflows import get_ir
from ..call import Call, service_options, with_call
from ..services import Services, database, open_services, run_async
from ..texts import cut, duration_text

LOOK_S = 0.25
PAGE = 500
TYPE_COLOURS = {"failed": "red", "succeeded": "green", "completed": "green", "waiting": "yellow", "retried": "yellow"}


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--follow", is_flag=True, help="Go on as events are recorded, until the run has ended.")
@click.option("--after", type=int, default=0, metavar="SEQ", help="Begin after this event.")
@click.option("--payloads", is_flag=True, help="With the inputs and outputs that the events carry.")
@click.option("--step", "steps", multiple=True, metavar="STEP", help="Only events of this step; may be repeated.")
@click.option(
    "--type", "types", multiple=True, metavar="TYPE", help="Only events of this type, or step.* for a family."
)
@service_options
@with_call
def events(
    call: Call,
    run_id: str,
    follow: bool,
    after: int,
    payloads: bool,
    steps: tuple[str, ...],
    types: tuple[str, ...],
) -> None:
    """Show the event log of a run.

    Under --json every event is one object on a line of its own.
    """
    call.log(default_level="warning")
    with open_services(call) as services:
        wants = partial(_is_wanted, steps, types)
        run_async(
            lambda: _show_all(call, services, run_id, wants, after=after, is_follow=follow, has_payloads=payloads)
        )


def _is_wanted(steps: tuple[str, ...], types: tuple[str, ...], event: RecordedEvent) -> bool:
    facts = event.facts
    return (not steps or facts.node in steps) and (not types or any(fnmatchcase(facts.type, one) for one in types))


async def _show_all(
    call: Call,
    services: Services,
    run_id: str,
    wants: Callable[[RecordedEvent], bool],
    *,
    after: int,
    is_follow: bool,
    has_payloads: bool,
) -> None:
    env = services.settings.env
    async with database(services) as conn:
        run = await get_run(conn, run_id)
        if run.env != env:
            raise UnknownRun(run_id)
        content = await get_ir(conn, env, run.ir_hash)
        numbers = Numbers(None if content is None else decode_ir(content))
        is_final = False
        while True:
            page = await read_events(conn, run_id, after + PAGE, after=after)
            for event in page:
                if wants(event):
                    payload = await _payload(conn, env, event) if has_payloads else None
                    _show(call, event, numbers, payload)
                is_final = is_final or event.facts.type in FINAL
            after = page[-1].seq if page else after
            if not page and (is_final or not is_follow):
                return
            if not page:
                await anyio.sleep(LOOK_S)


async def _payload(conn: Connection, env: str, event: RecordedEvent) -> object:
    """The value an event carries; None where it has none, or where it was emptied."""
    content = None if event.payload is None else await resolve(conn, env, event.payload)
    return None if content is None else msgspec.json.decode(content)


def _show(call: Call, event: RecordedEvent, numbers: Numbers, payload: object) -> None:
    shown = event_of(event, numbers, payload)
    if call.is_json:
        told = msgspec.to_builtins(shown)
        del told["run_id"]  # all are of one run
        call.out.json(told)
        return
    facts, at, scope, data = event.facts, shown.at, shown.scope, shown.data
    kind = style(facts.type.ljust(16), fg=TYPE_COLOURS.get(facts.type.rpartition(".")[2]))
    where = f"{facts.node} {scope}".strip().ljust(16)
    head = f"{event.seq:>5}  {style(at[11:-1], dim=True)}  {kind}  {where}"
    call.out.text(f"{head}  {style(cut(_words(data), max(20, call.out.width - 58)), dim=True)}".rstrip())


def _words(data: dict[str, object]) -> str:
    words: list[str] = []
    for name, value in data.items():
        if name == "ms":
            words.append(f"took {duration_text(float(str(value)) / 1000)}")
        elif name == "error":
            found = msgspec.convert(value, type=dict[str, object])
            words.append(f"{found.get('type')}: {found.get('message')}")
        else:
            words.append(f"{name}={value if isinstance(value, str) else msgspec.json.encode(value).decode()}")
    return ", ".join(words)
