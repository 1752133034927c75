"""The checker finds what it is there for: of a site where all is well, one thing at a time is spoilt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from chaos.checker import Limits, Seen, find, read_all
from chaos.oracles.broken import Broken
from chaos.oracles.executions import canonical, check_executions
from chaos.oracles.log import Event
from chaos.servers import PostgresServer
from chaos.shapes import document, kinds, order, step
from chaos.site import ENV, Site, open_site
from courante.sdk.errors import NotMigratable
from courante.sdk.keys import Keys

ENDING = frozenset(
    {
        "closing.released",
        "compensation.started",
        "fanout.closed",
        "fanout.completed",
        "fanout.swept",
        "gate.passed",
        "join.died",
        "join.fired",
        "mutex.granted",
        "path.died",
        "run.compensated",
        "run.migrated",
        "run.swept",
        "step.failed",
        "step.skipped",
        "step.succeeded",
        "timer.released",
        "token.released",
    }
)


@dataclass
class Scene:
    """What the checker reads, and what it is told. ``waiting``: a run that goes on."""

    seen: Seen
    accepted: dict[str, str]
    calm: dict[str, list[str]]
    waiting: str

    def oracles(self, limits: Limits | None = None) -> set[str]:
        return {found.oracle for found in find(self.seen, self.accepted, self.calm, limits or Limits(is_unended=True))}

    def run_of(self, kind: str) -> str:
        return next(run_id for run_id, one in self.accepted.items() if one == kind)

    def events(self, kind: str) -> list[Event]:
        return self.seen.log[self.run_of(kind)]


@pytest.fixture(scope="module")
def whole(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return anyio.run(_make_scene, postgres, tmp_path_factory.mktemp("scene"))


async def _make_scene(postgres: PostgresServer, folder: Path) -> Scene:
    pause = {"id": "pause", "type": "wait", "depends_on": "a", "config": {"for": "1h"}}
    async with open_site(folder, postgres) as site:
        await site.register(document("long", step("a"), pause, step("b", ["a", "pause"])))
        site.worker(concurrency=32)
        site.supervisor()
        await site.order(kinds())
        await site.until_ended()
        await _move_a_run(site)
        (waiting,) = await site.order([order("long", 0, "long")])
        await site.until("ZCARD", Keys(ENV).partition(0).timers, 1)
        seen = await read_all(site.redis.url, site.database_url, ENV, site.journal)
        calm = {kind: canonical(seen.log[run_id]) for run_id, kind in site.accepted.items() if run_id != waiting}
        return Scene(seen, site.accepted, calm, waiting)


async def _move_a_run(site: Site) -> None:
    """One that waits with a half-filled join goes on with a step more, and ends."""
    go = {"id": "go", "type": "signal", "depends_on": "a", "config": {"name": "go"}}
    nodes = [step("a"), go, step("b", ["a"]), step("z", ["b", "go"])]
    await site.register(document("moved", *nodes))
    (run_id,) = await site.order([order("moved", 0, "moved")])
    await site.register(document("moved", step("y", ["z"]), *nodes))
    client = await site.reach_client()
    with anyio.fail_after(60):
        is_moved = False
        while not is_moved:  # until it waits, a step is in hand
            with suppress(NotMigratable):
                is_moved = (await client.migrate_run(run_id)).is_moved
    await site.say(run_id, "signal", "go")
    await site.until_ended()


def test_all_is_well(whole: Scene) -> None:
    """Of the site as it is nothing is found."""
    assert whole.oracles() == set()


def without_timer(scene: Scene) -> None:
    scene.seen.partition.timers.clear()


def with_wrong_counter(scene: Scene) -> None:
    scene.seen.partition.runs[scene.waiting].counter += 1


def with_halted_run(scene: Scene) -> None:
    scene.seen.partition.runs[scene.waiting].phase = "H"


def without_join(scene: Scene) -> None:
    scene.seen.partition.runs[scene.waiting].joins.clear()


def without_token(scene: Scene) -> None:
    run = scene.seen.partition.runs[scene.waiting]
    run.tokens.clear()
    run.counter = 0


def with_other_output(scene: Scene) -> None:
    run = scene.seen.partition.runs[scene.waiting]
    field = next(field for field in run.values if field.startswith("o") and field != "out")
    run.values[field] = b"0"


def behind_the_log(scene: Scene) -> None:
    scene.seen.partition.runs[scene.waiting].seq -= 1


def forgotten_by_redis(scene: Scene) -> None:
    del scene.seen.partition.runs[scene.waiting]


def without_its_log(scene: Scene) -> None:
    del scene.seen.log[scene.run_of("chain/1")]


def with_a_gap(scene: Scene) -> None:
    del scene.events("chain/1")[3]


def with_changed_facts(scene: Scene) -> None:
    events = scene.events("chain/1")
    events[2] = dataclasses.replace(events[2], raw=events[2].raw.replace(b"step", b"stop"))


def with_changed_payload(scene: Scene) -> None:
    events = scene.events("chain/1")
    events[1] = dataclasses.replace(events[1], stored=b'{"v": 1}')


def with_two_ends(scene: Scene) -> None:
    events = scene.events("chain/1")
    events.append(dataclasses.replace(events[-1], seq=len(events) + 1, prev_hash=events[-1].hash))


def with_two_starts(scene: Scene) -> None:
    events = scene.events("chain/1")
    events[1] = dataclasses.replace(events[1], type="run.started")


def with_an_unmade_output(scene: Scene) -> None:
    lines = scene.seen.journal[scene.run_of("chain/1"), "b", ""]
    lines[0] |= {"nonce": "another"}


def with_an_execution_too_many(scene: Scene) -> None:
    lines = scene.seen.journal[scene.run_of("chain/1"), "b", ""]
    lines.append(lines[0])


def with_another_key(scene: Scene) -> None:
    lines = scene.seen.journal[scene.run_of("chain/1"), "b", ""]
    lines.append(lines[0] | {"key": "another"})


def unlike_a_calm_run(scene: Scene) -> None:
    scene.calm["chain/1"].pop()


def with_a_lost_command(scene: Scene) -> None:
    scene.seen.commands.add((scene.waiting, 2))


def moved(scene: Scene) -> tuple[list[Event], int]:
    for events in scene.seen.log.values():
        for at, event in enumerate(events):
            if event.type == "run.migrated":
                return events, at
    raise AssertionError("no run has moved")


def moved_from_elsewhere(scene: Scene) -> None:
    events, at = moved(scene)
    data = {**events[at].facts["data"], "from": events[at].facts["data"]["ir"]}
    events[at] = dataclasses.replace(events[at], facts={**events[at].facts, "data": data})


def moved_to_another_workflow(scene: Scene) -> None:
    events, at = moved(scene)
    data = {**events[at].facts["data"], "ir": scene.seen.starts[scene.waiting]}
    events[at] = dataclasses.replace(events[at], facts={**events[at].facts, "data": data})


def moved_and_a_token_lost(scene: Scene) -> None:
    events, at = moved(scene)
    address = events[at].facts["data"]["ir"]
    graph = scene.seen.graphs[address]
    gone = graph.numbers["go"]
    nodes = [dataclasses.replace(node, is_gate=node.number == gone) for node in graph.nodes]
    scene.seen.graphs[address] = dataclasses.replace(graph, nodes=tuple(nodes))


def with_another_projection(scene: Scene) -> None:
    scene.seen.rows[scene.run_of("chain/1")] = "FAILED"


SPOILT: dict[Callable[[Scene], None], str] = {
    without_timer: "O1",
    with_wrong_counter: "O1",
    with_halted_run: "O8",
    without_join: "O5",
    without_token: "O5",
    with_other_output: "O5",
    behind_the_log: "O5",
    forgotten_by_redis: "O5",
    without_its_log: "O6",
    with_a_gap: "O4",
    with_changed_facts: "O4",
    with_changed_payload: "O4",
    with_two_ends: "O8",
    with_two_starts: "O6",
    with_an_unmade_output: "O7",
    with_an_execution_too_many: "O7",
    with_another_key: "O7",
    unlike_a_calm_run: "O10",
    with_a_lost_command: "O6",
    with_another_projection: "O2",
    moved_from_elsewhere: "O6",
    moved_to_another_workflow: "O2",
    moved_and_a_token_lost: "O2",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_what_is_spoilt_is_found(whole: Scene, spoil: Callable[[Scene], None]) -> None:
    """Each single fault in Redis, log, journal or projection is found by the oracle that is there for it."""
    scene = deepcopy(whole)
    spoil(scene)
    assert SPOILT[spoil] in scene.oracles()


def test_a_run_without_end_is_found(whole: Scene) -> None:
    """O8: where no run may go on, the one that waits is found."""
    assert "O8" in whole.oracles(Limits())


def test_what_is_left_over_is_found(whole: Scene) -> None:
    """O1: entries that nobody will read, once every run has ended."""
    scene = deepcopy(whole)
    del scene.seen.partition.runs[scene.waiting]
    scene.seen.partition.entries["default:normal"] = {"1-1": "run_gone|3|4294967297"}
    assert "O1" in scene.oracles(Limits())


def test_takeovers_that_no_fault_explains_are_found(whole: Scene) -> None:
    """O7: where no lease may run out; elsewhere a takeover explains an execution."""
    scene = deepcopy(whole)
    events = scene.events("chain/1")
    with_an_execution_too_many(scene)
    events.append(dataclasses.replace(events[1], type="token.claimed", node="b"))
    (limited, free) = (
        [
            found.what
            for found in check_executions(
                scene.seen.log, scene.seen.last_graphs, scene.seen.journal, 0, claimed_max=most
            )
        ]
        for most in (0, None)
    )
    assert limited == ["1 tokens were taken over; the faults explain 0"]
    assert free == []


def test_the_walk_misses_no_event_and_takes_none_twice(whole: Scene) -> None:
    """O2, O3: a log with any one deciding event left out, or written twice, is not followed to its end."""
    for run_id, events in whole.seen.log.items():
        assert follow(whole, run_id, events)
        for place, event in enumerate(events):
            if event.type in ENDING:
                assert not follow(whole, run_id, events[:place] + events[place + 1 :]), (run_id, event)
                assert not follow(whole, run_id, [*events[:place], event, *events[place:]]), (run_id, event)


def follow(scene: Scene, run_id: str, events: list[Event]) -> bool:
    """Whether the rules lead from the first event to the last."""
    walk = scene.seen.walk(run_id)
    try:
        walk.follow(events)
    except Broken:
        return False
    return walk.has_ended or (run_id == scene.waiting and len(events) == len(scene.seen.log[run_id]))


def test_the_checker_stands_outside_of_the_engine() -> None:
    """No module of the checker imports anything of the engine's."""
    folder = Path(__file__).parent
    for path in (folder / "checker.py", folder / "nonces.py", *(folder / "oracles").glob("*.py")):
        assert "import courante" not in path.read_text("utf-8"), path
        assert "from courante" not in path.read_text("utf-8"), path
