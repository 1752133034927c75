"""Runs: submitted, listed, shown, waited for; their steps, events, artifacts, logs and cost."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

import anyio
import msgspec
from msgspec import Meta
from starlette.responses import Response

from ...compiler.durations import parse_duration
from ...sdk.access import Scope
from ...sdk.client.artifact_store import FoundArtifact
from ...sdk.errors import ArtifactNotFound, RunNotFound
from ...sdk.sealing.artifacts import CONTENT_TYPE, check_content_type
from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import BadFilter, UnknownRun
from ...sdk.stores.log import check_archived, last_events
from ...sdk.stores.runs import RunRow, get_run
from ...sdk.stores.spending import spending_of_runs
from ...sdk.stores.status import step_status
from ...sdk.submissions.submissions import Submission
from ..aside import aside_if_many
from ..backend import Backend
from ..bodies import NoBody, NoQuery
from ..problems import Refused
from ..reading.events import PAGE, LogReader
from ..reading.runs import read_page, read_run
from ..route import Answer, Asked, Raw, Routes
from ..streams import EVENT_STREAM, stream_all, stream_run, wants_stream
from ..wire.artifacts import Artifact, ArtifactPage, artifact_of
from ..wire.commands import Submit, SubmitMany, Submitted, submission_of
from ..wire.events import EventPage
from ..wire.runs import Result, RunDetail, RunPage, Spending, result_of
from ..wire.spending import cost_of, usage_of
from ..wire.steps import StepPage

routes = Routes("runs")
WAIT_S_MAX = 60
REFUSALS = ("workflow_not_found", "input_invalid", "idempotency_conflict")
OF_ARTIFACTS = ("run_not_found", "log_archived")
Filter = Annotated[str, Meta(max_length=512)]
Limit = Annotated[int, Meta(ge=1, le=1000)]


class By(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``by``: who wants it, where that is somebody else than who asks."""

    by: Filter | None = None


class Waiting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``wait``: seconds to wait for the end of the run."""

    wait: Annotated[float, Meta(ge=0, le=WAIT_S_MAX)] = 0


class RunFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``since``: accepted since then; ``2h`` ago, or ISO 8601. ``parent``: only runs that are steps of this one.

    ``search``: only runs whose id begins so, whose idempotency key or one of whose tags is this, or whose workflow has
    it in its id or name.
    """

    workflow: Filter | None = None
    status: Filter | None = None
    since: Filter | None = None
    tag: Filter | None = None
    parent: Filter | None = None
    search: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    limit: Limit = 20
    cursor: Filter | None = None


class StepFilters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``status``: only steps with it, in any spelling that is in use."""

    status: Filter | None = None


class EventRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"kind": "type"}):
    """``after``: the events behind this one. ``payloads``: with the inputs and outputs that they carry; where these are
    large the page has fewer events than ``limit``. ``step``, ``type``: only events of this step, of this type, or of a
    family of types (``step.*``); of pages alone.
    """

    after: Annotated[int, Meta(ge=0, le=2**53)] = 0
    limit: Limit = PAGE
    payloads: bool = False
    step: Filter | None = None
    kind: Filter | None = None


@routes.post(
    "/v1/runs",
    scope=Scope.SUBMIT,
    statuses=(201,),
    errors=REFUSALS,
    takes_key=True,
    takes_trace=True,
    says_where=True,
)
async def submit(asked: Asked[NoQuery, Submit]) -> Answer[Result]:
    """Start a run.

    It is acknowledged when Postgres has committed it. With the same key, here or in the header, it is the same run.
    """
    client, by, traced = asked.backend.client, asked.by(asked.body.by), asked.traceparent
    submission = await asked.prepared(partial(submission_of, asked.body, by, key=asked.key, traceparent=traced))
    run_id = await client.start(submission)
    return Answer(result_of(await client.result(run_id)), 201, {"Location": f"/v1/runs/{run_id}"})


@routes.post("/v1/runs/batch", scope=Scope.SUBMIT, statuses=(201,), errors=REFUSALS, takes_key=True, takes_trace=True)
async def submit_many(asked: Asked[NoQuery, SubmitMany]) -> Submitted:
    """Start up to 1,000 runs, all or none.

    With a key in the header a run that has none of its own has this one and its place: ``KEY/0`` is the first.
    """
    runs, key, traced = asked.body.runs, asked.key, asked.traceparent

    def one(number: int, run: Submit) -> Submission:
        own = None if key is None else f"{key}/{number}"
        return submission_of(run, asked.by(run.by), key=own, traceparent=traced)

    submissions = await asked.prepared(lambda: [one(number, run) for number, run in enumerate(runs)])
    return Submitted(run_ids=await asked.backend.client.submit_many(submissions))


@routes.get("/v1/runs", scope=Scope.READ)
async def list_(asked: Asked[RunFilters, NoBody]) -> RunPage:
    """List runs, the newest first."""
    wanted = msgspec.structs.asdict(asked.query) | {"since": read_since(asked.query.since)}
    async with asked.backend.client.pool.acquire() as conn:
        return await read_page(conn, asked.backend.env, **wanted)


@routes.get("/v1/runs/{run_id}", scope=Scope.READ, statuses=(200, 202), errors=("run_not_found",))
async def show(asked: Asked[Waiting, NoBody]) -> Answer[RunDetail]:
    """Show a run with its steps, and wait for its end if that is asked.

    202 where it was waited for and the run goes on.
    """
    run_id, wait_s = asked.at("run_id"), asked.query.wait
    has_ended = not wait_s or await wait_for(asked, run_id, wait_s)
    view = await read_run(asked.backend, run_id)
    return Answer(await aside_if_many(len(view.steps), view.detail), 200 if has_ended else 202)


@routes.get("/v1/runs/{run_id}/steps", scope=Scope.READ, errors=("run_not_found",))
async def steps(asked: Asked[StepFilters, NoBody]) -> StepPage:
    """Show the steps of a run, those that have not begun too."""
    wanted = None if asked.query.status is None else step_status(asked.query.status)
    view = await read_run(asked.backend, asked.at("run_id"))

    def shown() -> StepPage:
        steps = [step.to_wire() for step in view.steps if wanted in (None, step.status)]
        return StepPage(run_id=view.run.run_id, steps=steps)

    return await aside_if_many(len(view.steps), shown)


@routes.get("/v1/runs/{run_id}/events", scope=Scope.READ, errors=("run_not_found", "log_archived"), has_stream=True)
async def events(asked: Asked[EventRange, NoBody]) -> EventPage | Response:
    """Show the log of a run, a page at a time; or as it grows.

    With ``Accept: text/event-stream`` events are told as they come, from ``after`` on, or from Last-Event-ID; the id of
    each is its number. The stream ends with the run; who asks for more then gets 204.
    """
    query, backend = asked.query, asked.backend
    if wants_stream(asked.request):
        if query.step is not None or query.kind is not None:
            raise Refused("query_invalid", "step and type choose among the events of a page, not of a stream")
        return await stream_events(asked)
    async with backend.client.pool.acquire() as conn:
        log = LogReader(conn, backend.env, asked.at("run_id"))
        wanted = {"step": query.step, "kind": query.kind}
        return await log.read(query.after, limit=query.limit, payloads=query.payloads, **wanted)


async def stream_events(asked: Asked[EventRange, NoBody]) -> Response:
    """Raises UnknownRun, LogArchived, Refused."""
    async with found_run(asked.backend, asked.at("run_id")) as (conn, run):
        await check_archived(conn, run.run_id)
        last = (await last_events(conn, [run.run_id])).get(run.run_id, 0) if run.status.is_final else None
    return stream_run(asked.backend.live, asked.request, run.run_id, asked.query.after, last_seq=last)


@routes.get("/v1/events", scope=Scope.READ, media_type=EVENT_STREAM)
async def all_events(asked: Asked[NoQuery, NoBody]) -> Response:
    """Tell the events of all runs as they come, from now on or from Last-Event-ID.

    At least once: after a break some may come again; run and number tell which.
    """
    return stream_all(asked.backend.live, asked.request)


@routes.get("/v1/runs/{run_id}/artifacts", scope=Scope.READ, errors=OF_ARTIFACTS)
async def artifacts(asked: Asked[NoQuery, NoBody]) -> ArtifactPage:
    """List what the steps of a run have made that is no JSON."""
    found = await find_artifacts(asked.backend, asked.at("run_id"))
    return ArtifactPage(run_id=asked.at("run_id"), artifacts=[artifact_of(one) for one in found])


@routes.get(
    "/v1/runs/{run_id}/artifacts/{digest}",
    scope=Scope.READ,
    errors=(*OF_ARTIFACTS, "artifact_not_found", "artifact_gone"),
    media_type=CONTENT_TYPE,
)
async def artifact(asked: Asked[NoQuery, NoBody]) -> Raw:
    """Fetch the content of an artifact that a run refers to.

    As a file to be kept: what a step has made is never shown as a page of this server. ``X-Content-Type`` says what it
    is.
    """
    digest = asked.at("digest")
    found = await find_artifacts(asked.backend, asked.at("run_id"))
    one: Artifact | None = next((artifact_of(each) for each in found if each.artifact.digest == digest), None)
    if one is None:
        raise ArtifactNotFound(f"the run has no artifact {digest[:64]!r}")
    content = await asked.backend.client.artifacts.read(digest)
    headers = {"Content-Disposition": f'attachment; filename="{digest}"', "X-Content-Type": _header(one.content_type)}
    return Raw(content, headers=headers, media_type=CONTENT_TYPE)


@routes.get("/v1/runs/{run_id}/cost", scope=Scope.READ, errors=("run_not_found",))
async def cost(asked: Asked[NoQuery, NoBody]) -> Spending:
    """Say what the calls of models of a run have taken."""
    async with found_run(asked.backend, asked.at("run_id")) as (conn, run):
        spent = (await spending_of_runs(conn, [run.run_id])).get(run.run_id, [])
    return Spending(run_id=run.run_id, usage=usage_of(spent), cost=cost_of(spent))


@asynccontextmanager
async def found_run(backend: Backend, run_id: str) -> AsyncGenerator[tuple[Connection, RunRow]]:
    """A run of this environment, with a connection. Raises UnknownRun."""
    async with backend.client.pool.acquire() as conn:
        run = await get_run(conn, run_id)
        if run.env != backend.env:
            raise UnknownRun(run_id)
        yield conn, run


def _header(content_type: str) -> str:
    """A content type as it may stand in a header. A reference may have come from anybody, as a part of an input."""
    try:
        return check_content_type(content_type)
    except ValueError:
        return CONTENT_TYPE


async def find_artifacts(backend: Backend, run_id: str) -> list[FoundArtifact]:
    """Raises UnknownRun."""
    async with found_run(backend, run_id):
        pass
    return await backend.client.artifacts.of_run(run_id)


async def wait_for(asked: Asked[Waiting, NoBody], run_id: str, wait_s: float) -> bool:
    """Return whether the run has ended; also when whoever asks has gone. Raises RunNotFound."""
    async with found_run(asked.backend, run_id):
        pass
    has_ended = False

    async def wait() -> None:
        nonlocal has_ended
        try:
            await asked.backend.client.wait(run_id, timeout_s=wait_s, is_recorded=True)
            has_ended = True
        except (TimeoutError, RunNotFound):
            pass
        group.cancel_scope.cancel()

    async def watch() -> None:
        while (await asked.request.receive())["type"] != "http.disconnect":
            pass
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        group.start_soon(wait)
    return has_ended


def read_since(text: str | None) -> datetime | None:
    """A moment: ``2h`` (ago), or ISO 8601; one without an offset is UTC. Raises BadFilter."""
    if text is None:
        return None
    span_ms = parse_duration(text)
    try:
        if span_ms is not None:
            return datetime.now(UTC) - timedelta(milliseconds=span_ms)
        at = datetime.fromisoformat(text)
        return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).astimezone(UTC)
    except (ValueError, OverflowError) as cause:
        problem = f"{text!r:.100}: no duration and no time; for example 30m, 2h, 7d or 2026-01-31T12:00:00Z"
        raise BadFilter("since", problem) from cause
