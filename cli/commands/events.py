"""``courante events``: the event log of a run, from its first event on, and as it grows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import KW_ONLY, dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

import anyio
import click
import msgspec
from click import style

from ...api.reading.events import PAGE, LogReader
from ...api.wire.events import Event, EventPage
from ...sdk.fold.fold_ends import FINAL
from ..asking import look_up
from ..call import Call, service_options, with_call
from ..days import Days
from ..remote.paths import at
from ..texts import cut, duration_text

if TYPE_CHECKING:
    from ...sdk.http.server_events import ServerEvent
    from ..remote.connection import Connection

LOOK_S = 0.25
TYPE_COLOURS = {"failed": "red", "succeeded": "green", "completed": "green", "waiting": "yellow", "retried": "yellow"}


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--follow", is_flag=True, help="Go on as events are recorded, until the run has ended.")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="SEQ", help="Begin after this event.")
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
    wanted = _Wanted(frozenset(steps), types, after, has_payloads=payloads, is_followed=follow)
    look_up(
        call,
        lambda conn, env: _show_all(call, _Stored(LogReader(conn, env, run_id)), wanted),
        lambda api: _show_told(call, _OverApi(api, run_id), wanted),
    )


@dataclass(frozen=True)
class _Wanted:
    """``after``: the event to begin behind."""

    steps: frozenset[str]
    types: tuple[str, ...]
    after: int
    _: KW_ONLY
    has_payloads: bool
    is_followed: bool

    def has(self, event: Event) -> bool:
        is_step = not self.steps or event.node in self.steps
        return is_step and (not self.types or any(fnmatchcase(event.type, one) for one in self.types))


class _Log(Protocol):
    """The log of a run, wherever it is."""

    async def read(self, after: int, *, payloads: bool) -> EventPage: ...

    async def may_grow(self, after: int) -> bool:
        """Return when there may be more, and whether there will be after that."""
        ...


class _Stored:
    """In Postgres, which tells nobody."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    async def read(self, after: int, *, payloads: bool) -> EventPage:
        return await self._reader.read(after, payloads=payloads)

    async def may_grow(self, after: int) -> bool:
        del after
        await anyio.sleep(LOOK_S)
        return not (await self._reader.run()).status.is_final


class _OverApi:
    """Behind an API, whose stream tells when there is more."""

    def __init__(self, api: Connection, run_id: str) -> None:
        self._api = api
        self._path = at("runs", run_id, "events")
        self._told: AsyncGenerator[ServerEvent] | None = None

    async def read(self, after: int, *, payloads: bool) -> EventPage:
        return await self._api.get(self._path, EventPage, {"after": after, "limit": PAGE, "payloads": payloads})

    async def may_grow(self, after: int) -> bool:
        if self._told is None:
            self._told = self._api.events(self._path, after=str(after))
        async for event in self._told:
            if int(event.id) > after:
                return True
        return False

    async def close(self) -> None:
        if self._told is not None:
            await self._told.aclose()


async def _show_told(call: Call, log: _OverApi, wanted: _Wanted) -> None:
    try:
        await _show_all(call, log, wanted)
    finally:
        await log.close()


async def _show_all(call: Call, log: _Log, wanted: _Wanted) -> None:
    after, is_over, days = wanted.after, not wanted.is_followed, Days(call.out)
    while True:
        page = await log.read(after, payloads=wanted.has_payloads)
        for event in page.events:
            if wanted.has(event):
                days.tell(event.at)
                _show(call, event)
            is_over = is_over or event.type in FINAL
            after = event.seq
        if page.next is None and not page.events and is_over:
            return
        if page.next is None and not is_over:
            is_over = not await log.may_grow(after)


def _show(call: Call, event: Event) -> None:
    if call.is_json:
        told = msgspec.to_builtins(event)
        del told["run_id"]  # all are of one run
        call.out.json(told)
        return
    kind = style(event.type.ljust(16), fg=TYPE_COLOURS.get(event.type.rpartition(".")[2]))
    where = f"{event.node or ''} {event.scope}".strip().ljust(16)
    head = f"{event.seq:>5}  {style(event.at[11:-1], dim=True)}  {kind}  {where}"
    call.out.text(f"{head}  {style(cut(_words(event.data), max(20, call.out.width - 58)), dim=True)}".rstrip())


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
