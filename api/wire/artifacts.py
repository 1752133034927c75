"""Artifacts as they travel."""

from __future__ import annotations

import msgspec

from ...sdk.client.artifact_store import FoundArtifact


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """``step``: whose output refers to it; null where the run's own input or output does. ``seq``: of the event."""

    digest: str
    content_type: str
    size_bytes: int
    step: str | None
    scope: str
    seq: int


class ArtifactPage(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str
    artifacts: list[Artifact]


def artifact_of(found: FoundArtifact) -> Artifact:
    return Artifact(
        digest=found.artifact.digest,
        content_type=found.artifact.content_type,
        size_bytes=found.artifact.size_bytes,
        step=found.node or None,
        scope=found.scope,
        seq=found.seq,
    )
