"""Scrapes in tests: reading what a daemon tells, and asking the shipped rules what they make of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml
from prometheus_client.parser import text_string_to_metric_families

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "courante.json"
NAME = re.compile(r"\bcourante_[a-z_]+\b")
STEP_S = 15
Labels = frozenset[tuple[str, str]]
Scrape = dict[tuple[str, Labels], float]


def parse(text: str) -> Scrape:
    """Return all samples of one scrape."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def fetch(port: int, path: str = "/metrics") -> str:
    """Ask a daemon on this machine."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return str(answer.read().decode())


def value(found: Scrape, name: str, **labels: str) -> float:
    """Return the sum of what has these labels, whatever others it has; 0 of nothing."""
    wanted = frozenset(labels.items())
    return sum(value for (other, held), value in found.items() if other == name and wanted <= held)


class Asking(NamedTuple):
    """An expression that is shipped. ``told``: labels of its answer that the text beside it speaks of."""

    expression: str
    told: frozenset[str]


def askings() -> list[Asking]:
    """Return all expressions of the rules and of the dashboard, and of its variables."""
    rules: dict[str, Any] = yaml.safe_load(RULES.read_text())
    found = [
        Asking(rule["expr"], frozenset(re.findall(r"\$labels\.(\w+)", json.dumps(rule.get("annotations", {})))))
        for group in rules["groups"]
        for rule in group["rules"]
    ]
    board = json.loads(DASHBOARD.read_text())
    targets = [target for panel in board["panels"] for target in panel.get("targets", ())]
    found += [
        Asking(target["expr"], frozenset(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))))
        for target in targets
    ]
    for variable in board["templating"]["list"]:
        query = variable["query"]
        if isinstance(query, dict):
            words = cast("dict[str, str]", query)["query"]
            asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", words)
            assert asked is not None, query
            metric, label = asked.groups()
            found.append(Asking(f"count by ({label}) ({metric})", frozenset({label})))
    return found


def promtool() -> str | None:
    """Return where it is, on the path (Debian: the package ``prometheus``)."""
    return shutil.which("promtool")


def firing(folder: Path, scrapes: Sequence[Scrape], *, growing: Sequence[str] = ()) -> set[str]:
    """Return the alerts that fire when the last of these scrapes stays as it is for a quarter of an hour.

    growing: metrics that grow by a second in each second meanwhile. Needs promtool.
    """
    lasting = 60
    series: dict[str, str] = {}
    for key in sorted({key for one in scrapes for key in one}, key=str):
        name, labels = key
        told = ", ".join(f"{label}={json.dumps(text)}" for label, text in sorted(labels))
        seen = [f"{one[key]:g}" if key in one else "_" for one in scrapes]
        last = scrapes[-1].get(key)
        if last is None:
            rest = f"_x{lasting}"
        else:
            rest = f"{last:g}+{STEP_S}x{lasting}" if name in growing else f"{last:g}x{lasting}"
        series[f"{name}{{{told}}}"] = " ".join([*seen, rest])
    return alerts_of(folder, series)


def alerts_of(folder: Path, series: Mapping[str, str], at: str = "10m") -> set[str]:
    """Return the alerts that fire after some time. series: values in the words of promtool, one each ``STEP_S``.

    Needs promtool.
    """
    tool = promtool()
    assert tool is not None
    alerts = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    test: dict[str, Any] = {
        "interval": f"{STEP_S}s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": alert, "exp_alerts": []} for alert in alerts],
    }
    file = folder / "none_fires.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": f"{STEP_S}s", "tests": [test]}))
    done = subprocess.run([tool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    found = set(re.findall(r"alertname: (\w+),", said))
    assert (done.returncode != 0) is bool(found), said
    return found
