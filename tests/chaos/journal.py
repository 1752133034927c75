"""The journal: what the handlers' side effects leave behind, one line for each execution, whatever the log says.

Appended to by every worker process at once: one write with O_APPEND is one line.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "CHAOS_JOURNAL"
SLOTS = ".slots"
MENDED = ".mended"


def note_execution(run_id: str, node: str, scope: str, attempt: int, key: str, worker: str) -> str:
    """Append one line and return its nonce, a word that no other execution has."""
    nonce = secrets.token_hex(8)
    said = {"run": run_id, "node": node, "scope": scope, "attempt": attempt, "key": key, "worker": worker}
    _append("", said | {"pid": os.getpid(), "nonce": nonce, "at": time.time()})
    return nonce


def note_slot(group: str, key: str, *, is_taken: bool) -> None:
    """Append one line, beside the journal: an execution has begun, or is about to end. group: of who shares slots."""
    _append(SLOTS, {"group": group, "key": key, "taken": is_taken})


def most_at_once(path: Path) -> dict[str, int]:
    """Per group, how many steps were at it at once. Who died is at it until another has ended the same step."""
    inside: dict[str, set[str]] = {}
    most: dict[str, int] = {}
    for said in map(json.loads, Path(f"{path}{SLOTS}").read_text("utf-8").splitlines()):
        keys = inside.setdefault(said["group"], set())
        (keys.add if said["taken"] else keys.discard)(said["key"])
        most[said["group"]] = max(most.get(said["group"], 0), len(keys))
    return most


def _append(ending: str, said: Mapping[str, object]) -> None:
    handle = os.open(os.environ[VARIABLE] + ending, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, (json.dumps(said) + "\n").encode())
    finally:
        os.close(handle)


def mend(path: Path) -> None:
    """Have what is broken work from now on, in every process. path: of the journal."""
    Path(f"{path}{MENDED}").touch()


def is_mended() -> bool:
    return Path(f"{os.environ[VARIABLE]}{MENDED}").exists()


def count_executions(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def count_executions_of(key: str) -> int:
    """How often a step with this idempotency key was executed so far."""
    lines = Path(os.environ[VARIABLE]).read_text("utf-8").splitlines()
    return sum(json.loads(line)["key"] == key for line in lines)
