"""Dead letters: steps that failed for good, started again with their runs or dropped."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...sdk.access import Scope
from ...sdk.client.client import Client
from ...sdk.errors import CouranteError, RunNotFound
from ...sdk.stores.dead_letters import DeadLetter, Wanted
from ..bodies import NoBody, NoQuery
from ..route import Asked, Routes
from ..wire.commands import Refusal, RestartDone, refusal_of, restart_of
from ..wire.dead_letters import (
    DeadLetterPage,
    Drop,
    DropDone,
    DroppedStep,
    Place,
    Requeue,
    Requeued,
    dead_letter_of,
)
from .runs import Filter, Limit, read_since

routes = Routes("dead_letters")


class LetterFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``error``: its type. ``all``: also those that somebody has dealt with. ``tag``: all of several."""

    run_id: Filter | None = None
    workflow: Filter | None = None
    step: Filter | None = None
    error: Filter | None = None
    kind: Literal["fatal", "retryable"] | None = None
    since: Filter | None = None
    until: Filter | None = None
    tag: list[Filter] = msgspec.field(default_factory=lambda: [])
    all: bool = False
    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=4_096)] | None = None


@routes.get("/v1/dead-letters", scope=Scope.READ)
async def list_letters(asked: Asked[LetterFilters, NoBody]) -> DeadLetterPage:
    """List steps that failed for good, the last failure first."""
    query, client = asked.query, asked.backend.client
    wanted = Wanted(
        run_id=query.run_id,
        workflow=query.workflow,
        node=query.step,
        error=query.error,
        kind=query.kind,
        since=read_since(query.since),
        until=read_since(query.until),
        tags=tuple(query.tag),
        is_open=not query.all,
    )
    page = await client.dead_letters(wanted, limit=query.limit, cursor=query.cursor)
    irs = await client.irs(letter.ir_hash for letter in page.letters if letter.scope)
    shown = [dead_letter_of(letter, irs.get(letter.ir_hash)) for letter in page.letters]
    return DeadLetterPage(dead_letters=shown, next=page.next)


@routes.post("/v1/dead-letters/requeue", scope=Scope.OPERATE)
async def requeue(asked: Asked[NoQuery, Requeue]) -> Requeued:
    """Start runs again, each from where it was before its first dead letter. Those that cannot be are told."""
    body, by = asked.body, asked.by(asked.body.by)
    done: list[RestartDone] = []
    refused: list[Refusal] = []
    for run_id in dict.fromkeys(body.runs):
        try:
            found = await asked.backend.client.requeue(run_id, by=by, again=body.again, dry_run=body.dry_run)
            done.append(restart_of(found, is_dry=body.dry_run))
        except CouranteError as error:
            if error.code == "service_unavailable":
                raise
            refused.append(refusal_of(run_id, error))
    return Requeued(dry_run=body.dry_run, requeued=done, refused=refused)


@routes.post("/v1/dead-letters/drop", scope=Scope.OPERATE, errors=("run_not_found", "input_invalid"))
async def drop(asked: Asked[NoQuery, Drop]) -> DropDone:
    """Say that dead letters are dealt with, without starting anything."""
    body, by, client = asked.body, asked.by(asked.body.by), asked.backend.client
    letters: list[tuple[DeadLetter, str]] = []
    for place in body.places:
        found = [one for one in await _find(client, place) if place.scope in (None, one[1])]
        if not found:
            named = " ".join(filter(None, (place.run_id, place.step, place.scope)))
            raise RunNotFound(f"{named:.500} is no dead letter")
        letters += [one for one in found if one[0].state == "open"]
    scopes = {(letter.run_id, letter.node, letter.scope): scope for letter, scope in letters}
    dropped = await client.drop_dead_letters([letter for letter, _ in letters], body.reason, by=by)
    shown = [DroppedStep(run_id=one.run_id, step=one.node, scope=scopes[one]) for one in dropped.letters]
    return DropDone(dropped=shown, by=by, reason=body.reason)


async def _find(client: Client, place: Place) -> list[tuple[DeadLetter, str]]:
    """The dead letters of a run, or of a step of it, with their scopes as people read them."""
    wanted = Wanted(run_id=place.run_id, node=place.step, is_open=False)
    found = (await client.dead_letters(wanted, limit=1000)).letters
    irs = await client.irs(letter.ir_hash for letter in found if letter.scope)
    return [(letter, dead_letter_of(letter, irs.get(letter.ir_hash)).scope) for letter in found]
