"""Scrapes in tests: reading what a daemon tells, and asking the shipped rules what they make of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def expressions() -> list[str]:
    """Return all expressions that are shipped."""
    rules: dict[str, Any] = yaml.safe_load(RULES.read_text())
    found = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [*found, *(target["expr"] for panel in panels for target in panel.get("targets", ()))]


def promtool() -> str | None:
    """Return where it is, on the path (Debian: the package ``prometheus``)."""
    return shutil.which("promtool")


def firing(folder: Path, scrapes: Sequence[Scrape], *, growing: Sequence[str] = ()) -> set[str]:
    """Return the alerts that fire when the last of these scrapes stays as it is for a quarter of an hour.

    growing: metrics that grow by a second in each second meanwhile. Needs promtool.
    """
    tool = promtool()
    assert tool is not None
    lasting = 60
    series: list[dict[str, str]] = []
    for key in sorted({key for one in scrapes for key in one}, key=str):
        name, labels = key
        told = ", ".join(f"{label}={json.dumps(text)}" for label, text in sorted(labels))
        seen = [f"{one[key]:g}" if key in one else "_" for one in scrapes]
        last = scrapes[-1].get(key)
        if last is None:
            rest = f"_x{lasting}"
        else:
            rest = f"{last:g}+{STEP_S}x{lasting}" if name in growing else f"{last:g}x{lasting}"
        series.append({"series": f"{name}{{{told}}}", "values": " ".join([*seen, rest])})
    alerts = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    found: set[str] = set()
    for alert in alerts:
        test: dict[str, Any] = {
            "rule_files": [str(RULES)],
            "evaluation_interval": f"{STEP_S}s",
            "tests": [
                {
                    "interval": f"{STEP_S}s",
                    "input_series": series,
                    "alert_rule_test": [{"eval_time": "10m", "alertname": alert, "exp_alerts": []}],
                }
            ],
        }
        file = folder / f"{alert}.yml"
        file.write_text(yaml.safe_dump(test))
        done = subprocess.run([tool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert "error" not in said.lower() or "exp:[" in said.replace(" ", ""), said
        if done.returncode != 0:
            assert "got:[" in said.replace(" ", "").replace("\n", ""), said
            found.add(alert)
    return found
