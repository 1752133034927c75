"""Bundles for tests: runs of a floor, exported into memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from courante.replay.audit.export import Exporter, Proofs
from courante.replay.audit.run_check import Bad, CheckProof
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
    proofs: dict[str, Proofs] | None = None,
) -> list[bytes]:
    """Return the lines of a bundle, each with its end."""
    lines: list[bytes] = []
    exporter = Exporter(conn, env, lines.append, has_payloads=has_payloads)
    exporter.begin("test")
    for run_id in run_ids:
        await exporter.add(run_id, (proofs or {}).get(run_id))
    exporter.end(signer)
    return lines


async def verified(
    lines: Sequence[bytes], *, key: str | None = None, proofs_of: Callable[[str], CheckProof] | None = None
) -> BundleVerification:
    return await verify_bundle(io.BytesIO(b"".join(lines)), key=key, proofs_of=proofs_of)


def of_runs(found: BundleVerification) -> list[Bad]:
    """What is bad of runs, and not of the bundle."""
    return [bad for bad in found.bad if bad.run_id is not None]
