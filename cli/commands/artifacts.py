"""``courante artifacts``: what steps have made that is no JSON, listed and fetched."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ...sdk.artifact_store import FoundArtifact
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..services import ask_client


@click.command()
@click.argument("run")
@click.argument("digest", required=False)
@click.option("--output", "target", metavar="FILE", help="Write the content there; '-' for standard output.")
@service_options
@with_call
def artifacts(call: Call, run: str, digest: str | None, target: str | None) -> None:
    """List the artifacts of a run, or fetch one.

    RUN is the id of a run. With DIGEST, of which the beginning is enough, and --output the content is written.
    """
    found = ask_client(call, lambda client: client.artifacts.of_run(run))
    if digest is None:
        _list(call, run, found)
        return
    one = _choose(found, digest, run)
    content = ask_client(call, lambda client: client.artifacts.read(one.artifact.digest))
    if target == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    if target is not None:
        try:
            Path(target).write_bytes(content)
        except OSError as cause:
            message = f"{target} cannot be written: {cause.strerror}"
            raise CliError(ExitCode.USAGE, "file_not_writable", message) from cause
    call.out.json({**_to_json(one), "output": target})
    call.out.text(f"{one.artifact.digest}  {one.artifact.content_type}  {one.artifact.size_bytes:,} bytes")
    if target is not None:
        call.out.text(f"written to {target}")
    else:
        call.out.next(f"courante artifacts {run} {digest} --output FILE")


def _choose(found: list[FoundArtifact], digest: str, run: str) -> FoundArtifact:
    meant = [each for each in found if each.artifact.digest.startswith(digest.lower())]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise CliError(ExitCode.USAGE, "artifact_unclear", f"{digest!r} is the beginning of {len(meant)} artifacts")
    raise CliError(
        ExitCode.NOT_FOUND, "artifact_not_found", f"run {run} has no artifact {digest!r}", f"courante artifacts {run}"
    )


def _list(call: Call, run: str, found: list[FoundArtifact]) -> None:
    call.out.json({"run_id": run, "artifacts": [_to_json(each) for each in found]})
    if not found:
        call.out.text("no artifacts")
        return
    rows = [
        [each.artifact.digest, each.artifact.content_type, f"{each.artifact.size_bytes:,}", each.node] for each in found
    ]
    call.out.table(["digest", "content type", "bytes", "step"], rows)


def _to_json(found: FoundArtifact) -> dict[str, object]:
    artifact = found.artifact
    return {
        "digest": artifact.digest,
        "content_type": artifact.content_type,
        "size_bytes": artifact.size_bytes,
        "step": found.node or None,
        "scope": found.scope,
        "seq": found.seq,
    }
