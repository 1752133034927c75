"""The shipped rules and the dashboard speak of what is really told."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from courante.api.backend import open_backend
from courante.api.metering import Meter as Answers
from courante.runner.meter import Meter
from courante.sdk.metrics.exposition import Exposition, Sources
from courante.sdk.metrics.series import Spreads
from integration.cases import node
from integration.http_calls import settings_of
from integration.stage import Stage
from scrapes import DASHBOARD, DEPLOY, NAME, RULES, Asking, alerts_of, askings, parse, promtool

pytestmark = pytest.mark.anyio
SELECTED = re.compile(rf"({NAME.pattern})(?:\{{([^}}]*)\}})?")
MATCHED = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
GROUPED = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SHARED = "env"
"""The label that every sample bears."""
VARIABLES = {"$__rate_interval": "5m", "$__range": "1h"}
"""Of Grafana, where Prometheus has a duration."""
NO_PROMTOOL = "promtool is not installed (Debian: the package prometheus): the rules are not checked"


def told(sources: Sources) -> dict[str, set[str]]:
    """Return the labels of the samples that a scrape has or may have, by their names; those it has bear them."""
    found: dict[str, set[str]] = {}
    for series in sources():
        labels = {SHARED, *series.labels}
        if isinstance(series, Spreads):
            found |= {
                f"{series.name}_bucket": {*labels, "le"},
                f"{series.name}_sum": labels,
                f"{series.name}_count": labels,
            }
        else:
            found[series.name] = labels
    for name, borne in parse(Exposition(sources, {SHARED: "e"}).write("")[1].decode()):
        if not name.endswith("_created"):
            assert {label for label, _ in borne} == found[name], name
    return found


def unknown(asking: Asking, known: dict[str, set[str]]) -> list[str]:
    """Return what an expression names and no scrape has. What is grouped by is a label of the metric that follows."""
    text = asking.expression
    selected = list(SELECTED.finditer(text))
    named = [(found[1], MATCHED.findall(found[2] or "")) for found in selected]
    grouped: set[str] = set()
    for found in GROUPED.finditer(text):
        labels = [label.strip() for label in found[1].split(",") if label.strip()]
        metric = next((each for each in selected if each.start() > found.end()), selected[-1])
        named.append((metric[1], labels))
        grouped |= set(labels)
    wrong = [f"{name}: {label}" for name, labels in named for label in labels if label not in known.get(name, ())]
    wrong += [name for name, _ in named if name not in known]
    wrong += [f"the text speaks of {label}" for label in sorted(asking.told - grouped)]
    return [f"{text}: {each}" for each in wrong]


async def test_each_metric_and_label_that_they_name_is_told(stage: Stage) -> None:
    """By who has done something: worker, supervisor, API; and what the text beside a graph names its answer has."""
    worker, supervisor = stage.worker(meter=Meter()), stage.supervisor(counts=True)
    await stage.run(await stage.register(node("a", type="noop")), 1)
    answers = Answers()
    answers.note("GET", "/v1/runs", 200, 0.001)
    async with open_backend(stage.client, settings_of(stage.place), stage.place.redis_url) as backend:
        asked = told(lambda: answers.sources(backend))
    known = told(worker.series) | told(supervisor.series) | asked
    assert [wrong for asking in askings() for wrong in unknown(asking, known)] == []
    assert len(askings()) > 40


def test_what_is_not_told_would_be_found() -> None:
    """A metric, a label of it, one that is grouped by, and one that only the text has."""
    known = {"courante_a_total": {"env", "step"}}
    assert unknown(Asking('sum by (step) (courante_a_total{env="x"})', frozenset({"step"})), known) == []
    for wrong in ("courante_b_total", 'courante_a_total{queue="x"}', "sum by (env, queue) (courante_a_total)"):
        assert unknown(Asking(wrong, frozenset()), known)
    assert unknown(Asking("sum(courante_a_total)", frozenset({"step"})), known)


def test_the_rules_and_the_dashboard_are_well_formed(tmp_path: Path) -> None:
    """As promtool says."""
    tool = promtool()
    if tool is None:
        pytest.skip(NO_PROMTOOL)
    plain: list[str] = []
    for asking in askings():
        expression = asking.expression
        for variable, duration in VARIABLES.items():
            expression = expression.replace(variable, duration)
        plain.append(expression)
    rules = [{"record": f"shipped:{number}", "expr": each} for number, each in enumerate(plain)]
    shipped = tmp_path / "shipped.yml"
    shipped.write_text(yaml.safe_dump({"groups": [{"name": "shipped", "rules": rules}]}))
    config = DEPLOY / "prometheus" / "prometheus.yml"
    for checked in (["rules", str(RULES)], ["rules", str(shipped)], ["config", "--syntax-only", str(config)]):
        done = subprocess.run([tool, "check", *checked], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


WELL = {
    'courante_partition_watched{env="e",partition="0"}': "1x90",
    'courante_redis_up{env="e"}': "1x90",
    'courante_postgres_up{env="e"}': "1x90",
    'courante_redis_used_bytes{env="e"}': "10x90",
    'courante_redis_maxmemory_bytes{env="e"}': "100x90",
    'courante_outbox_lag_seconds{env="e",partition="0"}': "1x90",
    'courante_outbox_entries{env="e",partition="0"}': "10x90",
    'courante_outbox_limit_entries{env="e",limit="soft"}': "1000x90",
    'courante_queue_waiting{env="e",queue="q",priority="normal"}': "3x90",
    'courante_queue_age_seconds{env="e",queue="q",priority="normal"}': "2x90",
    'courante_queue_workers{env="e",queue="q"}': "1x90",
    'courante_queue_paused{env="e",queue="q"}': "0x90",
    'courante_alerts{env="e",kind="run.stuck"}': "0x90",
    'courante_lease_takeovers_total{env="e",partition="0"}': "0+0x90",
    'courante_retries_total{env="e",workflow="w",step="s"}': "0+1x90",
    'courante_attempts_total{env="e",workflow="w",step="s",outcome="retried"}': "0+1x90",
    'courante_attempts_total{env="e",workflow="w",step="s",outcome="succeeded"}': "0+9x90",
    'courante_dead_letters_total{env="e",workflow="w",step="s"}': "7x90",
    'courante_runs_ended_total{env="e",workflow="w",status="COMPLETED"}': "0+9x90",
    'courante_runs_ended_total{env="e",workflow="w",status="CANCELLED"}': "0+9x90",
}
"""Of 22 minutes: much is done, some of it again, and once upon a time something failed for good."""


CASES: list[tuple[dict[str, str], str]] = [
    ({}, ""),
    ({"courante_partition_watched": "1x20 0x70"}, "CouranteNoSupervisor"),
    ({"courante_partition_watched": "1x20 _x70"}, "CouranteNoSupervisor"),
    ({"courante_outbox_lag_seconds": "0+15x90"}, "CouranteRecorderStopped"),
    ({"courante_queue_workers": "1x20 0x70"}, "CouranteWorkersGone"),
    ({"courante_queue_workers": "1x20 0x70", "courante_queue_paused": "1x90"}, ""),
    ({"courante_queue_age_seconds": "0+15x90"}, "CouranteQueueSlow"),
    ({"courante_outbox_entries": "600x90"}, "CouranteOutboxFilling"),
    ({"courante_outbox_entries": "1000x90"}, "CouranteOutboxFilling CouranteOutboxFull"),
    ({"courante_dead_letters_total": "7x60 8x30"}, "CouranteDeadLettersGrowing"),
    ({"courante_dead_letters_total": "_x60 1x30"}, "CouranteDeadLettersGrowing"),
    ({'courante_attempts_total{env="e",workflow="w",step="s",outcome="succeeded"': "9x90"}, "CouranteRetryLoop"),
    ({"courante_alerts": "0x60 2x30"}, "CouranteRunsStuck"),
    (
        {
            'courante_runs_ended_total{env="e",workflow="w",status="FAILED"}': "0+1x90",
            "courante_runs_ended_total": "0+8x90",
        },
        "CouranteRunsFailing",
    ),
    ({"courante_lease_takeovers_total": "0+1x90"}, "CouranteLeaseTakeovers"),
    ({"courante_redis_up": "1x60 0x30"}, "CouranteServerAway"),
    ({"courante_postgres_up": "1x60 0x30"}, "CouranteServerAway"),
    ({"courante_redis_used_bytes": "81x90"}, "CouranteRedisFull"),
]


@pytest.mark.parametrize(("changed", "wanted"), CASES)
def test_each_rule_fires_for_its_own_and_nothing_else(tmp_path: Path, changed: dict[str, str], wanted: str) -> None:
    """What changes is named by the beginning of the series, or is a new one."""
    if promtool() is None:
        pytest.skip(NO_PROMTOOL)
    series = {
        name: next((to for of, to in changed.items() if name.startswith(of)), values) for name, values in WELL.items()
    }
    series |= {name: values for name, values in changed.items() if name.endswith("}")}
    assert alerts_of(tmp_path, series, at="20m") == set(wanted.split())


def test_every_rule_has_a_case() -> None:
    """Whoever adds one says above when it fires."""
    rules = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    assert {name for _, wanted in CASES for name in wanted.split()} == rules


def test_a_coloured_number_says_where_it_turns() -> None:
    """Grafana turns red what says nothing of it at 80: no number of the dashboard is left to that."""
    board = json.loads(DASHBOARD.read_text())
    coloured = [panel for panel in board["panels"] if panel.get("options", {}).get("colorMode") == "background"]
    said = {panel["title"]: panel["fieldConfig"]["defaults"].keys() & {"thresholds", "mappings"} for panel in coloured}
    assert {"Health", "Workers", "Log behind", "Dead letters open"} == set(said)
    assert all(said.values()), said
