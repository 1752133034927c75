"""Bundles for tests: runs of a floor, exported into memory."""

from __future__ import annotations

import io
from collections.abc import Sequence

from courante.replay.audit.anchor_lines import AnchorBook
from courante.replay.audit.export import Exporter
from courante.replay.audit.run_check import Bad
from courante.replay.audit.signing import Signer
from courante.replay.audit.verify import BundleVerification, verify_bundle
from courante.sdk.stores.connection import Connection


async def exported(
    conn: Connection,
    env: str,
    run_ids: Sequence[str],
    *,
    has_payloads: bool = True,
    signer: Signer | None = None,
) -> list[bytes]:
    """Return the lines of a bundle, each with its end."""
    lines: list[bytes] = []
    exporter = Exporter(conn, env, lines.append, has_payloads=has_payloads)
    exporter.begin("test")
    for run_id in run_ids:
        await exporter.add(run_id)
    exporter.end(signer)
    return lines


async def verified(
    lines: Sequence[bytes], *, key: str | None = None, book: AnchorBook | None = None
) -> BundleVerification:
    return await verify_bundle(io.BytesIO(b"".join(lines)), key=key, book=book)


def of_runs(found: BundleVerification) -> list[Bad]:
    """What is bad of runs, and not of the bundle."""
    return [bad for bad in found.bad if bad.run_id is not None]
