"""The artifacts of an environment, read: those of a run, and their contents, from Redis or from Postgres."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC

import msgspec

from ...compiler.durations import format_duration
from ..errors import ArtifactGone, ArtifactNotFound, PayloadUnreadable, RunNotFound
from ..events import digest
from ..floor.calling import Connection
from ..keys import Keys
from ..sealing.artifacts import Artifact, artifacts_in, refers
from ..sealing.payload_terms import PAYLOAD_TERMS
from ..stores.connection import Pool
from ..stores.dropped_artifacts import Dropped, find_dropped
from ..stores.errors import UnknownRun
from ..stores.log import read_events
from ..stores.payloads import get_payloads, resolve
from ..stores.runs import get_run
from ..unavailable import AsUnavailable

PAGE = 500
_DIGEST = re.compile(r"[0-9a-f]{32}")


class FoundArtifact(msgspec.Struct, frozen=True):
    """``node``: of the step whose output refers to it; empty where the run's own input or output does."""

    node: str
    scope: str
    seq: int
    artifact: Artifact


class Artifacts:
    """Safe for any number of tasks."""

    def __init__(self, redis: Connection, pool: Pool, keys: Keys) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys

    async def of_run(self, run_id: str) -> list[FoundArtifact]:
        """Return what the log of a run refers to, each where it first stands. Raises RunNotFound."""
        found: dict[str, FoundArtifact] = {}
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                try:
                    await get_run(conn, run_id)
                except UnknownRun as error:
                    raise RunNotFound(f"there is no run {run_id}") from error
                after = 0
                while events := await read_events(conn, run_id, after + PAGE, after=after):
                    after = events[-1].seq
                    for event in events:
                        content = None if event.payload is None else await resolve(conn, self._keys.env, event.payload)
                        if content is None or not refers(content):
                            continue
                        for artifact in artifacts_in(msgspec.json.decode(content)):
                            facts = event.facts
                            kept = FoundArtifact(facts.node, facts.scope, event.seq, artifact)
                            found.setdefault(artifact.digest, kept)
        return list(found.values())

    async def read(self, address: str) -> bytes:
        """Return the content behind a digest, checked against it. Raises ArtifactGone, ArtifactNotFound."""
        if _DIGEST.fullmatch(address):
            wanted = bytes.fromhex(address)
            with AsUnavailable():
                content: bytes | None = await self._redis.get(self._keys.blob(address))
                if content is None or digest(content) != wanted:
                    async with self._pool.acquire() as conn:
                        content = (await get_payloads(conn, self._keys.env, [wanted])).get(wanted)
                        dropped = await find_dropped(conn, self._keys.env, [wanted])
                    if content is None and wanted in dropped:
                        raise gone(address, dropped[wanted])
            if content is not None and digest(content) == wanted:
                with suppress(PayloadUnreadable):
                    return PAYLOAD_TERMS.decode(bytes(content))
        raise ArtifactNotFound(
            f"there is no artifact {address[:64]!r}, its content is damaged, or there is no key for it"
        )


def gone(address: str, dropped: Dropped) -> ArtifactGone:
    """What is told of an artifact that retention has dropped."""
    kept, day = format_duration(dropped.kept_ms), dropped.dropped_at.astimezone(UTC).date().isoformat()
    told = f"the artifact {address} was dropped by retention on {day}: it was kept for {kept} after its runs had ended"
    return ArtifactGone(told, hint="'courante rerun' from the step that made it makes it anew")
