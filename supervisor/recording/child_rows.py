"""Child runs, projected: steps that began to wait for a run of their own, as rows that link the two."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from ...sdk.events import Facts
from ...sdk.stores.children import WantedChild, child_run_id, insert_children
from ...sdk.stores.connection import Connection


class ChildRows:
    """The rows that a batch of events makes."""

    def __init__(self, env: str) -> None:
        self._env = env
        self._rows: list[WantedChild] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, run_id: str, seq: int, at: datetime, facts: Facts) -> None:
        """Follow a ``step.waiting`` for a child. What nobody of ours has written links nothing."""
        said = facts.data.get("child")
        child: Mapping[str, object] = cast("Mapping[str, object]", said) if isinstance(said, dict) else {}
        workflow, version = child.get("workflow"), child.get("version")
        if not isinstance(workflow, str):
            return
        step = (run_id, facts.node, facts.scope, facts.attempt)
        self._rows.append(
            WantedChild(
                child_run_id(self._env, *step),
                *step,
                seq,
                workflow,
                version if isinstance(version, int) else None,
                bool(child.get("detached")),
                at,
            )
        )

    async def write(self, conn: Connection) -> None:
        await insert_children(conn, self._env, self._rows)
