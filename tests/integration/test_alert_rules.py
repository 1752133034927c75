"""The shipped rules and the dashboard speak of what is really told."""

from __future__ import annotations

import subprocess

import pytest

from courante.runner.meter import Meter
from courante.sdk.metrics.exposition import Exposition, Sources
from integration.cases import node
from integration.stage import Stage
from scrapes import NAME, RULES, expressions, promtool

pytestmark = pytest.mark.anyio


def names(sources: Sources) -> set[str]:
    """Return the names of the samples that a scrape has or may have."""
    text = Exposition(sources, {"env": "e"}).write("")[1].decode()
    found: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            found |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return found


async def test_each_metric_that_they_name_is_told(stage: Stage) -> None:
    """By a worker or a supervisor that has done something; and the dashboard leaves none out that has no other."""
    worker, supervisor = stage.worker(meter=Meter()), stage.supervisor(counts=True)
    await stage.run(await stage.register(node("a", type="noop")), 1)
    told = names(worker.series) | names(supervisor.series)
    named = {name for expression in expressions() for name in NAME.findall(expression)}
    assert named <= told
    assert len(expressions()) > 40


def test_the_rules_are_well_formed() -> None:
    """As promtool says."""
    tool = promtool()
    if tool is None:
        pytest.skip("promtool is not installed (Debian: the package prometheus): the rules are not checked")
    done = subprocess.run([tool, "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
