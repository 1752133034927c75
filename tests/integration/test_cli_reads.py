"""What can be seen of workflows and runs: status, runs, events, replay, workflows; plain and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import Said, spawn

DIAMOND = Path(__file__).parents[2] / "test_data" / "diamond.yaml"

STATUS = """\
run       RUN
workflow  diamond version 1
status    COMPLETED, started AGE by ada, took SPAN
steps     4/4 complete

✓ order     SUCCEEDED     SPAN
✓ goods     SUCCEEDED     SPAN
✓ shipping  SUCCEEDED     SPAN
✓ total     SUCCEEDED     SPAN

{
  "amount": 42,
  "item": "lamp"
}
"""

WORKFLOW = """\
diamond (Price of an order) version 1
versions: 1

node      type       dependencies
order     echo       (no dependencies)
goods     transform  (depends on: order)
shipping  transform  (depends on: order)
total     transform  (depends on: goods, shipping)

next: courante run diamond
"""

Courante = Callable[..., Said]


@pytest.fixture
def courante(redis_url: str, database: str, env_name: str, tmp_path: Path) -> Courante:
    """Call a command in a fresh environment on a fresh database."""
    environ = {
        "COURANTE_REDIS_URL": redis_url,
        "COURANTE_DATABASE_URL": database,
        "COURANTE_ENV": env_name,
        "COURANTE_HOME": str(tmp_path / "home"),
    }
    return lambda *argv, **more: spawn(*argv, cwd=tmp_path, environ=environ, **more)


def squeeze(text: str) -> str:
    """Durations are of different widths: runs of spaces before them count as one width."""
    lines = [
        line.rpartition("SPAN")[0].rstrip() + "     SPAN" if line.endswith("SPAN") else line
        for line in text.splitlines()
    ]
    return "\n".join(lines) + "\n"


def test_a_finished_run_is_seen_everywhere(courante: Courante) -> None:
    """Status, runs, events and replay tell of one run, in words and as JSON."""
    ran = courante("run", str(DIAMOND), "--tag", "nightly", "--by", "ada", "--json").json
    run_id = ran["run_id"]
    check_status(courante, ran)
    check_runs(courante, ran)
    check_events(courante, run_id)
    check_replay(courante, run_id)
    check_what_if(courante, run_id)


def check_status(courante: Courante, ran: dict[str, Any]) -> None:
    told = courante("status", ran["run_id"], "--json")
    assert told.code == 0
    assert {name: told.json[name] for name in ran} == ran
    more = {
        "workflow",
        "version",
        "reason",
        "tags",
        "is_halted",
        "created_at",
        "approvals",
        "trigger",
        "base_run_id",
        "by",
    }
    more |= {"steps", "parent", "children", "alerts", "usage", "cost", "forgotten", "archived"}
    assert set(told.json) == {*ran, *more}
    fields = {"id", "scope", "child", "status", "reason", "attempts", "started_at", "finished_at", "waiting_for"}
    assert all(set(step) - {"handler_ms"} == fields for step in told.json["steps"])
    assert [step["id"] for step in told.json["steps"]] == ["order", "goods", "shipping", "total"]
    assert {step["status"] for step in told.json["steps"]} == {"SUCCEEDED"}
    assert (told.json["usage"]["total_tokens"], set(told.json["cost"])) == (0, {"amount", "currency"})
    plain = squeeze(courante("status", ran["run_id"]).stable).replace("     SPAN", " SPAN", 1)
    assert plain.replace("tags      nightly\n", "") == STATUS


UNUSED = "input_tokens output_tokens cached_tokens total_tokens calls unpriced_calls unknown_calls".split()


def check_runs(courante: Courante, ran: dict[str, Any]) -> None:
    row = {
        "run_id": ran["run_id"],
        "workflow": "diamond",
        "version": 1,
        "status": "COMPLETED",
        "tags": ["nightly"],
        "started_at": ran["started_at"],
        "finished_at": ran["finished_at"],
        "parent": None,
        "usage": dict.fromkeys(UNUSED, 0),
        "cost": {"amount": 0, "currency": "USD"},
    }
    for filters in ([], ["--status", "success"], ["--workflow", "diamond"], ["--since", "1h"], ["--tag", "nightly"]):
        assert courante("runs", *filters, "--json").json == {"runs": [row], "next": None}, filters
    for filters in (["--status", "failed"], ["--workflow", "other"], ["--since", "2999-01-01"], ["--tag", "weekly"]):
        assert courante("runs", *filters, "--json").json["runs"] == [], filters
    head, line = courante("runs").out.splitlines()
    assert head.split() == ["run", "status", "workflow", "started", "took"]
    assert line.split()[:5] == [ran["run_id"], "COMPLETED", "diamond", "v1", "[nightly]"]


def check_events(courante: Courante, run_id: str) -> None:
    said = courante("events", run_id, "--follow", "--json")
    events = [json.loads(line) for line in said.out.splitlines()]
    fields = {"seq", "type", "at", "node", "scope", "token", "attempt", "worker", "data"}
    assert all(set(event) == fields for event in events)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[0]["token"]) == ("run.started", None)
    assert events[-1]["type"] == "run.completed"
    total = next(event for event in events if event["type"] == "step.succeeded" and event["node"] == "total")
    assert total["token"] == f"{run_id}/total/"
    assert "payload" not in total["data"]
    rest = courante("events", run_id, "--after", str(total["seq"] - 1), "--payloads", "--json").out.splitlines()
    assert json.loads(rest[0])["data"]["payload"] == {"item": "lamp", "amount": 42}
    first = courante("events", run_id).stable.splitlines()[0]
    assert first.split()[:3] == ["1", "CLOCK", "run.started"]


def check_what_if(courante: Courante, run_id: str) -> None:
    same = courante("replay", run_id, "--what-if", "1", "--json")
    assert (same.code, same.json["what_if"], same.json["same"], same.json["differs"]) == (0, "1", 1, 0)
    (one,) = same.json["runs"]
    assert (one["run_id"], one["verdict"], one["decisions"], one["executed"], one["not_reached"]) == (
        run_id,
        "same",
        [],
        [],
        [],
    )
    assert f"{run_id} v1: same\n" in courante("replay", "--since", "1h", "--limit", "5", "--what-if", "latest").out
    for argv, code in (
        (["--what-if", "1"], 64),
        ([run_id, "--what-if", "1", "--verify"], 64),
        ([run_id, "--what-if", "1", "--since", "1h"], 64),
        ([run_id, "--since", "1h"], 64),
        (["--since", "1h"], 64),
        ([], 64),
        ([run_id, "--what-if", "none"], 64),
        ([run_id, "--what-if", "99"], 3),
        ([run_id, "--what-if", "none.yaml"], 3),
        (["run_none", "--what-if", "1"], 3),
    ):
        assert courante("replay", *argv).code == code, argv


def check_replay(courante: Courante, run_id: str) -> None:
    verified = courante("replay", run_id, "--verify", "--json")
    assert (verified.code, verified.json["ok"], verified.json["first_difference"]) == (0, True, None)
    assert set(verified.json) == {"run_id", "ok", "events", "emptied", "unchecked", "first_difference"}
    twice = courante("replay", run_id, run_id, "--verify")
    assert twice.out == f"✓ {run_id}: {verified.json['events']} events: the log holds together\n" * 2
    assert courante("replay", run_id, "--verify").out == f"✓ {verified.json['events']} events: the log holds together\n"
    assert courante("replay", run_id, "--json").json["status"] == "COMPLETED"
    first = courante("replay", run_id, "--at", "1", "--json").json
    assert (first["seq"], first["counter"], first["tokens"][0]["node"]) == (1, 1, "order")
    changes = courante("replay", run_id, "--diff", "1", "2", "--json").json["changes"]
    assert {"place": ["steps", "order"], "before": "READY", "after": "SUCCEEDED"} in changes
    assert 'steps order\n  - "READY"\n  + "SUCCEEDED"\n' in courante("replay", run_id, "--diff", "1", "2").out
    assert courante("replay", run_id, "--diff", "1", "1").out == "nothing differs\n"
    told = courante("replay", run_id, "--at", "1").out
    assert told.startswith(f"{run_id} after event 1: RUNNING\n")
    rows = [line.split() for line in told.splitlines()]
    assert [row for row in rows if row[:1] == ["order"]] == [["order", "step"], ["order", "READY"]]
    beyond = courante("replay", run_id, "--at", "99", "--json")
    assert (beyond.code, beyond.json["error"]["code"]) == (3, "event_not_found")


def test_pages_of_runs_follow_each_other(courante: Courante) -> None:
    """``next`` is what ``--cursor`` takes; newest first."""
    ids = [courante("run", str(DIAMOND), "--detach", "--json").json["run_id"] for _ in range(3)]
    first = courante("runs", "--limit", "2", "--json").json
    last = courante("runs", "--limit", "2", "--cursor", first["next"], "--json").json
    assert [run["run_id"] for run in first["runs"] + last["runs"]] == ids[::-1]
    assert last["next"] is None
    assert f"next: courante runs --cursor {first['next']}" in courante("runs", "--limit", "2").out


def test_workflows_and_their_versions(courante: Courante, tmp_path: Path) -> None:
    """``init`` makes a version where something changed; list, show and graph read what is registered."""
    file = tmp_path / "d.yaml"
    file.write_text(DIAMOND.read_text())
    one = courante("init", "d.yaml", "--json").json
    assert (one["workflow"], one["version"], len(one["ir"])) == ("diamond", 1, 32)
    assert courante("init", "d.yaml", "--json").json == one | {"is_new": False}
    assert "has not changed: it is version 1" in courante("init", "d.yaml").out
    assert courante("workflows", "show", "diamond").out == WORKFLOW
    file.write_text(DIAMOND.read_text().replace("pieces > 2", "pieces > 3"))
    said = courante("init", "d.yaml").out
    counts = "  4 nodes, 4 dependencies, 3 execution phases"
    assert said == f"✓ diamond registered as version 2\n{counts}\nnext: courante run diamond\n"
    (listed,) = courante("workflows", "list", "--json").json["workflows"]
    assert (listed["id"], listed["version"], listed["versions"], listed["nodes"], listed["edges"]) == (
        "diamond",
        2,
        2,
        4,
        4,
    )
    shown = courante("workflows", "show", "diamond", "--version", "1", "--json").json
    assert (shown["id"], shown["version"], shown["ir"]) == ("diamond", 1, one["ir"])
    assert [version["version"] for version in shown["versions"]] == [1, 2]
    assert [node["id"] for node in shown["nodes"]] == ["order", "goods", "shipping", "total"]
    assert {"from": "order", "to": "goods", "kind": "normal", "when": None} in shown["edges"]
    graph = courante("graph", "diamond", "--version", "1")
    assert graph.out == courante("graph", str(DIAMOND)).out
    ran = courante("run", "diamond", "--version", "1", "--json").json
    assert courante("runs", "--json").json["runs"][0]["version"] == 1
    assert ran["output"]["amount"] == 42


@pytest.mark.parametrize(
    ("argv", "exit_code", "code"),
    [
        (["status", "run_none"], 3, "run_not_found"),
        (["status", "run_none", "--watch"], 3, "run_not_found"),
        (["events", "run_none"], 3, "run_not_found"),
        (["replay", "run_none", "--verify"], 3, "run_not_found"),
        (["replay", "run_none", "--at", "1", "--verify"], 64, "usage"),
        (["replay", "run_none", "run_other"], 64, "usage"),
        (["workflows", "show", "none"], 3, "workflow_not_found"),
        (["graph", "none"], 3, "workflow_not_found"),
        (["runs", "--status", "lost"], 64, "bad_status"),
        (["runs", "--limit", "0"], 64, "usage"),
        (["runs", "--cursor", "x"], 64, "bad_cursor"),
        (["runs", "--since", "yesterday"], 64, "bad_since"),
    ],
    ids=str,
)
def test_what_is_not_there_or_not_meant(courante: Courante, argv: list[str], exit_code: int, code: str) -> None:
    """Each with its exit code; what is not there exits with 3, what cannot be meant with 64."""
    said = courante(*argv, "--json")
    assert (said.code, said.json["error"]["code"]) == (exit_code, code), said.out + said.err


def test_environments_never_see_each_other(courante: Courante) -> None:
    """A run of one environment is not found in another one."""
    run_id = courante("run", str(DIAMOND), "--json").json["run_id"]
    for command in ("status", "events", "replay"):
        assert courante(command, run_id, "--env", "elsewhere", "--json").code == 3
    assert courante("runs", "--env", "elsewhere").out == "no runs\nnext: courante run FILE\n"
    assert courante("workflows", "list", "--env", "elsewhere").out == "no workflows\nnext: courante init FILE\n"


def test_child_runs_are_seen_below_their_parent(courante: Courante, tmp_path: Path) -> None:
    """``status`` names them on both sides, ``runs --parent`` lists them; ``run`` serves their queues, too."""
    inner = {
        "courante": 1,
        "id": "inner",
        "nodes": [{"id": "e", "type": "echo", "queue": "odd", "config": {"value": 1}}],
    }
    nodes = [{"id": "child", "type": "subflow", "config": {"workflow": "inner"}}]
    (tmp_path / "inner.json").write_text(json.dumps(inner))
    (tmp_path / "outer.json").write_text(json.dumps({"courante": 1, "id": "outer", "nodes": nodes}))
    assert courante("init", "inner.json").code == 0
    parent = courante("run", "outer.json", "--json").json["run_id"]
    above = courante("status", parent, "--json").json
    (child,) = above["children"]
    names = {
        "step": "child",
        "scope": "",
        "attempt": 1,
        "workflow": "inner",
        "version": 1,
        "detached": False,
        "depth": 1,
        "taken_from": None,
    }
    assert child == {"run_id": child["run_id"], **names, "state": "settled", "status": "COMPLETED"}
    link = {"run_id": parent, "step": "child", "scope": "", "attempt": 1, "detached": False}
    assert (above["parent"], courante("status", child["run_id"], "--json").json["parent"]) == (None, link)
    (listed,) = courante("runs", "--parent", parent, "--json").json["runs"]
    assert (listed["run_id"], listed["parent"]) == (child["run_id"], link)
    assert f"child: {child['run_id']}  COMPLETED  inner v1, step child" in courante("status", parent).out
    assert f"parent    {parent}, step child" in courante("status", child["run_id"]).out
