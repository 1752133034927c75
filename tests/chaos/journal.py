"""The journal: what the handlers' side effects leave behind, one line for each execution, whatever the log says.

Appended to by every worker process at once: one write with O_APPEND is one line.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path

VARIABLE = "CHAOS_JOURNAL"


def note_execution(run_id: str, node: str, scope: str, attempt: int, key: str, worker: str) -> str:
    """Append one line and return its nonce, a word that no other execution has."""
    nonce = secrets.token_hex(8)
    said = {"run": run_id, "node": node, "scope": scope, "attempt": attempt, "key": key, "worker": worker}
    line = json.dumps(said | {"pid": os.getpid(), "nonce": nonce, "at": time.time()}) + "\n"
    path = os.environ[VARIABLE]
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)
    return nonce


def count_executions(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def count_executions_of(key: str) -> int:
    """How often a step with this idempotency key was executed so far."""
    lines = Path(os.environ[VARIABLE]).read_text("utf-8").splitlines()
    return sum(json.loads(line)["key"] == key for line in lines)
