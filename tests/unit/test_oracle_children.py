"""What the checker finds of child runs: a site where all is well, with one thing at a time that is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from chaos.oracles.children import Link, check_children
from chaos.oracles.log import Event


def event(seq: int, type: str, node: str = "", payload: object = None, **facts: object) -> Event:
    content = None if payload is None else json.dumps(payload).encode()
    attempt = 1 if node else 0
    return Event(seq, type, seq, node, "", attempt, facts, b"", None, b"", b"", content, content)


def logs() -> dict[str, list[Event]]:
    """A parent whose steps have a child run each: awaited, detached, refused, failed."""
    waits = {"reason": "child"}
    parent = [event(1, "run.started", payload=None, data={"trigger": "initial"})]
    ends: dict[str, dict[str, Any]] = {
        "waits": {"run_id": "c_waits", "status": "COMPLETED", "output": [1]},
        "leaves": {"run_id": "c_leaves", "status": "STARTED"},
        "deep": {"run_id": "c_deep", "status": "REFUSED", "error": "no"},
        "fails": {"run_id": "c_fails", "status": "FAILED", "error": "no"},
    }
    parent += [event(seq, "step.waiting", node, {"n": seq}, **waits) for seq, node in enumerate(ends, start=2)]
    for node, end in ends.items():
        parent.append(event(len(parent) + 1, "command.applied", node, end, data={"type": "child_ended"}))
        parent.append(event(len(parent) + 1, "token.released", node, reason="signal"))
        is_well = end["status"] in ("COMPLETED", "STARTED")
        output = end.get("output", {"run_id": end["run_id"]}) if is_well else None
        parent.append(event(len(parent) + 1, "step.succeeded" if is_well else "step.failed", node, output))
    started: dict[str, Any] = {"data": {"trigger": "child"}}
    return {
        "parent": parent,
        "c_waits": [event(1, "run.started", payload={"n": 2}, **started), event(2, "run.completed", payload=[1])],
        "c_leaves": [event(1, "run.started", payload={"n": 3}, **started), event(2, "run.failed")],
        "c_fails": [event(1, "run.started", payload={"n": 5}, **started), event(2, "run.failed")],
    }


def links() -> list[Link]:
    rows = [("waits", 2, False, "settled"), ("leaves", 3, True, "settled"), ("deep", 4, False, "refused")]
    rows.append(("fails", 5, False, "settled"))
    return [Link(f"c_{node}", "parent", node, "", 1, seq, leaves, state) for node, seq, leaves, state in rows]


@dataclass
class Scene:
    log: dict[str, list[Event]] = field(default_factory=logs)
    links: list[Link] = field(default_factory=links)

    def findings(self) -> list[tuple[str, str]]:
        return [(found.oracle, found.what) for found in check_children(self.log, self.links)]

    def change(self, run_id: str, seq: int, **fields: Any) -> None:
        self.log[run_id][seq - 1] = replace(self.log[run_id][seq - 1], **fields)

    def link(self, at: int, **fields: Any) -> None:
        self.links[at] = replace(self.links[at], **fields)

    def told(self, node: str) -> int:
        return next(one.seq for one in self.log["parent"] if (one.type, one.node) == ("command.applied", node))


def told_twice(scene: Scene) -> None:
    seq = scene.told("waits")
    scene.log["parent"].insert(seq, scene.log["parent"][seq - 1])


def told_of_another_output(scene: Scene) -> None:
    payload = json.dumps({"run_id": "c_waits", "status": "COMPLETED", "output": [2]}).encode()
    scene.change("parent", scene.told("waits"), payload=payload)


def told_of_another_run(scene: Scene) -> None:
    payload = json.dumps({"run_id": "c_fails", "status": "COMPLETED", "output": [1]}).encode()
    scene.change("parent", scene.told("waits"), payload=payload)


def told_before_its_end(scene: Scene) -> None:
    del scene.log["c_fails"][1:]


def started_only(scene: Scene) -> None:
    scene.link(1, is_detached=False)


SPOILT: dict[str, tuple[Callable[[Scene], object], str, str]] = {
    "no link": (lambda scene: scene.links.pop(0), "O6", "no link"),
    "a link of another event": (lambda scene: scene.link(0, seq=7), "O6", "no link says so"),
    "a link that nobody asked for": (lambda scene: scene.link(0, node="other"), "O6", "has not asked for it"),
    "an open link": (lambda scene: scene.link(0, state="started"), "O8", "still started"),
    "a child that is gone": (lambda scene: scene.log.pop("c_waits"), "O6", "not in the log"),
    "a child of a dropped link": (lambda scene: scene.link(0, state="dropped"), "O6", "the link is dropped"),
    "a child of no link": (lambda scene: scene.log.update(c_more=scene.log["c_waits"]), "O6", "no link leads to it"),
    "another input": (lambda scene: scene.change("c_waits", 1, payload=b"{}"), "O6", "its input is another one"),
    "another trigger": (lambda scene: scene.change("c_waits", 1, facts={}), "O6", "not started for a step"),
    "told twice": (told_twice, "O6", "was told 2 times"),
    "told of another output": (told_of_another_output, "O6", "which is not so"),
    "told of another run": (told_of_another_run, "O6", "was told of c_fails"),
    "told before its end": (told_before_its_end, "O6", "which is not so"),
    "told of the start only": (started_only, "O6", "which is not so"),
    "a refused one that runs": (lambda s: s.log.update(c_deep=s.log["c_fails"]), "O6", "the link is refused"),
    "another output of the step": (
        lambda scene: scene.change("parent", scene.told("waits") + 2, payload=b"[2]"),
        "O6",
        "the output of waits is another one",
    ),
    "a step that fails all the same": (
        lambda scene: scene.change("parent", scene.told("waits") + 2, type="step.failed"),
        "O6",
        "says step.failed",
    ),
    "a step that succeeds all the same": (
        lambda scene: scene.change("parent", scene.told("fails") + 2, type="step.succeeded"),
        "O6",
        "says step.succeeded",
    ),
}


def test_nothing_is_found_where_all_is_well() -> None:
    """F67: awaited, detached, refused and failed child runs, each told once."""
    assert Scene().findings() == []


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_spoilt_is_found(name: str) -> None:
    """F67: whichever end of the link says something else."""
    spoil, oracle, what = SPOILT[name]
    scene = deepcopy(Scene())
    spoil(scene)
    assert any(found == oracle and what in said for found, said in scene.findings()), scene.findings()


def test_what_came_too_late_may_be_ignored() -> None:
    """The step had stopped waiting: the command says so, and nothing of the child run counts."""
    scene = Scene()
    seq = scene.told("waits")
    scene.change("parent", seq + 1, type="command.ignored")
    scene.change("parent", seq + 2, type="step.failed", payload=None)
    assert scene.findings() == []


def test_a_link_may_be_open_while_runs_go_on() -> None:
    scene = Scene()
    scene.link(0, state="started")
    assert list(check_children(scene.log, scene.links, is_unended=True)) == []
