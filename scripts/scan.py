"""Scan: the packages of locked.txt, held against a database of known vulnerabilities by pip-audit.

Where the database cannot be asked nothing is known: that is said in capitals, and is no failure, for a machine without
a network is none. The exit code is 1 where a package is vulnerable.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
ASKS = ("-s", "osv", "--disable-pip", "--require-hashes", "-f", "json", "--progress-spinner", "off", "--timeout", "10")


class Vulnerability(msgspec.Struct, frozen=True):
    id: str
    fix_versions: tuple[str, ...] = ()


class Dependency(msgspec.Struct, frozen=True):
    """``skip_reason``: why nothing is known of it."""

    name: str
    version: str = ""
    vulns: tuple[Vulnerability, ...] = ()
    skip_reason: str = ""


class Report(msgspec.Struct, frozen=True):
    dependencies: tuple[Dependency, ...]


def main(options: list[str], locked: str = "locked.txt") -> int:
    command = [sys.executable, "-m", "pip_audit", *ASKS, "-r", locked, *options]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    try:
        report = msgspec.json.decode(done.stdout, type=Report)
    except msgspec.DecodeError:
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"SCAN SKIPPED, vulnerabilities of packages are not known: {why:.300}")
        return 0
    lines = [line for one in report.dependencies for line in _told(one)]
    print("\n".join([*lines, f"{len(report.dependencies)} packages, {len(lines)} findings"]))
    return 1 if any(one.vulns for one in report.dependencies) else 0


def _told(one: Dependency) -> list[str]:
    name = f"{one.name} {one.version}".strip()
    if one.skip_reason:
        return [f"{name}: not looked up: {one.skip_reason}"]
    return [f"{name}: {each.id}, mended in {', '.join(each.fix_versions) or 'no version yet'}" for each in one.vulns]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
