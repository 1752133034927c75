"""Retries: what a run begins with that goes on from before another one's bad end, by its version or by another one.

With another version there are two ways. The run moves to it as a live one does, where that is proved to be possible and
nothing that was done by then would be done otherwise now (``retried_versions``). Else it is enacted again by it
(``reenacted_retries``).

A run that failed by the items of a map is enacted again by its own version, where nothing else was under way: so what
other items have come to is taken over, also what they came to after the first of them had failed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from anyio.to_thread import run_sync

from ..base_terms import BaseTerms
from ..errors import InputInvalid, NotRestartable
from ..fold.cuts import Cut, Ending
from ..history.cut_reading import read_cut, read_ending
from ..history.lineage import Lineage, Stage
from ..marking.marking import TokenKind
from ..marking.plan import Plan
from ..migration.retried_versions import fitted, moved
from ..reenactment.impact import impacted
from ..reenactment.restarting import RestartPlan, restart_plan
from ..sealing.payload_terms import PAYLOAD_TERMS
from ..stores.commands import get_command
from ..stores.connection import Connection
from ..stores.log import last_events
from ..stores.runs import RunRow
from ..submissions.catalog import Catalog, Resolved
from .reenacted_retries import Reenacted, read_memory, read_reenacted, reenacted
from .wishes import BASE, LATEST, LATEST_WORDS

ITEMS_EVENTS_MAX = 10_000
"""Events of a base that is enacted again for its items: that takes some seconds, in whoever starts the new run."""
Way: TypeAlias = Literal["", "resumed", "migrated", "reenacted"]


@dataclass(frozen=True, kw_only=True)
class Retry:
    """``seq``: the event of the base after which it goes on. ``first``: why, of steps that are executed first.

    ``known``: steps of the base's version. ``asked_seq``: what its key is made of, with ``asked``: the same whichever
    way it takes, as that may hang on what is still stored.
    """

    stage: Stage
    seq: int
    restart: RestartPlan
    way: Way
    terms: BaseTerms | None = None
    first: Mapping[str, str] = field(default_factory=dict[str, str])
    known: Collection[str] = ()
    asked_seq: int
    asked: BaseTerms | None = None

    def why(self) -> dict[str, str]:
        """Return why each step is executed that may be: new, changed, input_differs, failed, undone, emptied (what it
        gave is not stored any more), not_done, or because it follows on others.
        """
        names = impacted(self.stage.plan.ir, self.restart.marking)
        return {name: self.first.get(name) or ("follows" if name in self.known else "new") for name in names}


async def plan_retry(conn: Connection, catalog: Catalog, run: RunRow, lineage: Lineage, version: int | str) -> Retry:
    """version: of the workflow, a number, BASE or one of LATEST_WORDS.

    Raises WorkflowNotFound, InputInvalid, NotRestartable, Corrupt, PayloadUnreadable. Cost: the events of the base,
    twice; once with another version by which something would be done otherwise.
    """
    other = None if version == BASE else await _resolve(conn, catalog, run, version)
    if other is None or other.plan.hash == lineage.last.hash:
        return await _plan_own(conn, run, lineage)
    await _check_input(conn, catalog, run, other)
    memory = await read_memory(conn, lineage, run.run_id, hears_ending=True)
    ending = memory.ending
    assert ending is not None
    seq = ending.seq - 1
    is_whole = bool(ending.seq) and not ending.undone
    try:
        before = memory.settled_at(seq) if is_whole else None
        found = await reenacted(conn, lineage, memory, other.plan, before)
    except NotRestartable as error:
        cut = await read_cut(conn, lineage, run.run_id, seq) if is_whole else None
        return await run_sync(_migrated, run, lineage, ending, cut, other, error)
    if is_whole and not found.differs:
        cut = await read_cut(conn, lineage, run.run_id, seq)
        try:
            return await run_sync(_migrated, run, lineage, ending, cut, other, None)
        except NotRestartable:
            pass  # what lives there has no place in the other version
    asked = BaseTerms(way="retry", version=other.version)
    return await _reenacted(conn, run, lineage, ending, found, Stage(seq, other.plan, other.version), asked)


async def _plan_own(conn: Connection, run: RunRow, lineage: Lineage) -> Retry:
    """Plan a retry by the version that the run had last."""
    ending = await read_ending(conn, lineage, run.run_id)
    seq = ending.seq - 1
    _check_ending(lineage.last, run, ending)
    if ending.is_of_items and await _last_event(conn, run) <= ITEMS_EVENTS_MAX:
        try:
            found = await read_reenacted(conn, lineage, run.run_id, lineage.last)
        except NotRestartable:
            pass  # what it would be enacted by is not stored any more
        else:
            last = lineage.stages[-1]
            return await _reenacted(conn, run, lineage, ending, found, Stage(seq, last.plan, last.version), None)
    stage = lineage.at(seq)
    sound = await read_cut(conn, lineage, run.run_id, seq)
    restart = await run_sync(restart_plan, stage.plan, sound, ending.failed)
    return _resumed(stage, ending, restart, "resumed", None, stage.plan)


async def _reenacted(
    conn: Connection,
    run: RunRow,
    lineage: Lineage,
    ending: Ending,
    found: Reenacted,
    stage: Stage,
    asked: BaseTerms | None,
) -> Retry:
    seq = await _last_event(conn, run)
    return Retry(
        stage=replace(stage, seq=seq),
        seq=seq,
        restart=found.restart,
        way="reenacted",
        terms=BaseTerms(way="reenact", version=stage.version),
        first=found.why,
        known=lineage.last.numbers.keys(),
        asked_seq=max(0, ending.seq - 1),
        asked=asked,
    )


async def _last_event(conn: Connection, run: RunRow) -> int:
    return (await last_events(conn, [run.run_id]))[run.run_id]


async def _resolve(conn: Connection, catalog: Catalog, run: RunRow, version: int | str) -> Resolved:
    if isinstance(version, int):
        return await catalog.resolve(conn, run.workflow, version)
    if version not in LATEST_WORDS:
        raise InputInvalid(f"there is no version {version!r:.40}", hint=f"give a number, {BASE!r} or {LATEST!r}")
    return await catalog.resolve(conn, run.workflow, None)


def _migrated(
    run: RunRow, lineage: Lineage, ending: Ending, cut: Cut | None, other: Resolved, refused: NotRestartable | None
) -> Retry:
    """refused: why it cannot be enacted again. Raises NotRestartable where it cannot move either."""
    if cut is None:
        assert refused is not None
        raise refused
    old = lineage.at(cut.seq)
    plan = fitted(old.plan, other.plan)
    try:
        restart = restart_plan(plan, moved(run.run_id, old.plan, plan, cut), ending.failed)
    except NotRestartable as error:
        raise (refused or error) from error
    terms = BaseTerms(way="retry", version=other.version)
    return _resumed(Stage(old.seq, plan, other.version), ending, restart, "migrated", terms, old.plan)


def _resumed(
    stage: Stage, ending: Ending, restart: RestartPlan, way: Way, terms: BaseTerms | None, before: Plan
) -> Retry:
    nodes, tokens = stage.plan.ir.nodes, restart.marking.tokens
    failed = {number for number, _ in ending.failed}
    living = [at[0] for at, token in tokens.items() if token.kind is TokenKind.NORMAL and not nodes[at[0]].is_gate]
    first = {nodes[number].id: "failed" if number in failed else "not_done" for number in sorted(living)}
    return Retry(
        stage=stage,
        seq=ending.seq - 1,
        restart=restart,
        way=way,
        terms=terms,
        first=first,
        known=before.numbers.keys(),
        asked_seq=ending.seq - 1,
        asked=terms,
    )


async def _check_input(conn: Connection, catalog: Catalog, run: RunRow, other: Resolved) -> None:
    asked = await get_command(conn, run.run_id, 1)
    assert asked is not None
    try:
        catalog.check_input(other.plan, PAYLOAD_TERMS.decode(asked.body))
    except InputInvalid as error:
        told = f"the input of {run.run_id} is none of version {other.version}: {error.message}"
        raise InputInvalid(told, error.problems, hint=f"start it anew: courante run {run.workflow}") from error


def _check_ending(plan: Plan, run: RunRow, ending: Ending) -> None:
    if not ending.seq:
        told = f"no step of {run.run_id} failed: its output could not be made, and could not be again"
        hint = f"with a mended version it can be: courante retry {run.run_id} --version latest"
        raise NotRestartable(told, reason="not_failed", hint=hint)
    if ending.undone:
        names = ", ".join(dict.fromkeys(plan.node_ids[number] for number, _ in ending.undone))
        told = f"when {run.run_id} ended, what it had done was undone ({names}): nothing is left to go on from"
        raise NotRestartable(told, reason="undone", hint=f"start it anew: courante run {run.workflow}")
