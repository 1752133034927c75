"""The six scenarios of a fan-out: a parent, its three children, retries, and what is seen of it all.

``python scripts/fan_out.py`` runs each on embedded servers of its own, by the command line that people use, and prints
what became of the children, the parent and the run; exit code 1 when one of them is not as it should be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from courante import Context, step

ALWAYS, HANGS = -1, -2
PATIENCE_S = 60.0


@step("fan_out.child")
async def child(failures: int, context: Context) -> int:
    """Fail so often, always or never; or work until the run is cancelled."""
    if failures == HANGS:
        await context.cancelled
    if failures == ALWAYS or context.attempt <= failures:
        raise ConnectionError("as it should")
    return context.attempt


def document(max_attempts: int) -> dict[str, Any]:
    retry = {"max_attempts": max_attempts, "base": "10ms", "jitter": False}
    handler = {"handler": "fan_out.child"}
    return {
        "courante": 1,
        "id": f"fan-out-{max_attempts}",
        "nodes": [
            {"id": "parent", "type": "map", "config": {"items": "input"}},
            {"id": "child", "type": "function", "depends_on": "parent", "config": handler, "retry": retry},
            {"id": "result", "type": "aggregate", "depends_on": "child"},
        ],
    }


class Place:
    """A folder with servers of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        here = {"COURANTE_HOME": str(folder / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("COURANTE_")} | here

    def call(self, *words: str) -> Any:
        """What a command gives as JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "courante", *words, "--json"],
            cwd=Path(__file__).parent,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = done.stdout.splitlines()
        if not lines:
            raise SystemExit(f"courante {' '.join(words)}: {done.stderr}")
        return json.loads(lines[-1])

    def submit(self, values: list[int], max_attempts: int, *options: str) -> dict[str, Any]:
        """Run a fan-out over the values to its end; or begin it, with ``--detach``."""
        workflow, given = self._folder / "fan_out.json", self._folder / "values.json"
        workflow.write_text(json.dumps(document(max_attempts)))
        given.write_text(json.dumps(values))
        found: dict[str, Any] = self.call("run", str(workflow), "--input-file", str(given), *options)
        return found

    def states(self, run_id: str) -> dict[str, Any]:
        """Of the run, of the parent (that of its aggregate), and of its children with their tries."""
        shown = self.call("status", run_id)
        made = {one["child"]: f"{one['status']} {one['attempts']}" for one in shown["steps"] if one["child"]}
        (parent,) = [one["status"] for one in shown["steps"] if one["id"] == "result"]
        return {"run": shown["status"], "parent": parent, "children": [made[name] for name in sorted(made)]}


def ended(place: Place, values: list[int], max_attempts: int = 1) -> dict[str, Any]:
    return place.states(place.submit(values, max_attempts)["run_id"])


def at_work(place: Place) -> dict[str, Any]:
    run_id = place.submit([0, 0, HANGS], 1, "--detach")["run_id"]
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = place.states(run_id)
        if found["children"] == ["SUCCEEDED 1", "SUCCEEDED 1", "RUNNING 1"] or time.monotonic() > deadline:
            place.call("cancel", run_id)
            return found


def seen(place: Place) -> dict[str, Any]:
    told = place.call("statistics")
    children = next(one for one in told["steps"] if (one["workflow"], one["step"]) == ("fan-out-3", "child"))
    return {
        "health": place.call("health")["status"],
        "runs": sum(told["runs"]["by_status"].values()),
        "children": {name: children[name] for name in ("total", "recovered", "exhausted")},
    }


def outcome(run: str, parent: str, *children: str) -> dict[str, Any]:
    return {"run": run, "parent": parent, "children": list(children)}


OK, FAILED = "SUCCEEDED 1", "FAILED 1"
SCENARIOS: Mapping[str, tuple[Callable[[Place], dict[str, Any]], dict[str, Any]]] = {
    "all children succeed": (lambda place: ended(place, [0, 0, 0]), outcome("COMPLETED", "SUCCEEDED", OK, OK, OK)),
    "one child fails": (lambda place: ended(place, [0, 0, ALWAYS]), outcome("FAILED", "FAILED", OK, OK, FAILED)),
    "a child is still at work": (at_work, outcome("RUNNING", "WAITING", OK, OK, "RUNNING 1")),
    "a child is tried again, and succeeds": (
        lambda place: ended(place, [0, 2, 0], 3),
        outcome("COMPLETED", "SUCCEEDED", OK, "SUCCEEDED 3", OK),
    ),
    "a child has no tries left": (
        lambda place: ended(place, [0, ALWAYS, 0], 3),
        outcome("FAILED", "FAILED", OK, "FAILED 3", OK),
    ),
    "what is seen of it all": (
        seen,
        {"health": "HEALTHY", "runs": 5, "children": {"total": 6, "recovered": 1, "exhausted": 1}},
    ),
}


def main() -> int:
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="courante-fan-out.") as folder:
        place = Place(Path(folder))
        try:
            place.call("up", "--app", "fan_out", "--detach")
            for number, (name, (scenario, expected)) in enumerate(SCENARIOS.items(), start=1):
                found = scenario(place)
                wrong += found != expected
                told = ", ".join(f"{word} {json.dumps(value)}" for word, value in found.items()).replace('"', "")
                print(f"{'✓' if found == expected else '✗'} {number} {name}: {told}", flush=True)
        finally:
            place.call("down")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
