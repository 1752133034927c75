"""``courante artifacts``: what steps have made that is no JSON, listed and fetched."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from ...api.reading.events import LogReader
from ...api.wire.artifacts import Artifact, ArtifactPage, artifact_of
from ..asking import ask
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..remote.paths import at
from ..services import Services, connected_client


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
    path = at("runs", run, "artifacts")
    page = ask(call, lambda services: _of_run(services, run), lambda api: api.get(path, ArtifactPage))
    if digest is None:
        _list(call, page)
        return
    one = _choose(page, digest)
    content = ask(
        call,
        lambda services: _content(services, one.digest),
        lambda api: api.content(f"{path}/{one.digest}"),
    )
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
    call.out.json({**msgspec.to_builtins(one), "output": target})
    call.out.text(f"{one.digest}  {one.content_type}  {one.size_bytes:,} bytes")
    if target is not None:
        call.out.text(f"written to {target}")
    else:
        call.out.next(f"courante artifacts {run} {digest} --output FILE")


async def _of_run(services: Services, run_id: str) -> ArtifactPage:
    async with connected_client(services) as client:
        async with client.pool.acquire() as conn:
            await LogReader(conn, services.settings.env, run_id).run()
        found = await client.artifacts.of_run(run_id)
    return ArtifactPage(run_id=run_id, artifacts=[artifact_of(each) for each in found])


async def _content(services: Services, digest: str) -> bytes:
    async with connected_client(services) as client:
        return await client.artifacts.read(digest)


def _choose(page: ArtifactPage, digest: str) -> Artifact:
    meant = [each for each in page.artifacts if each.digest.startswith(digest.lower())]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise CliError(ExitCode.USAGE, "artifact_unclear", f"{digest!r} is the beginning of {len(meant)} artifacts")
    message = f"run {page.run_id} has no artifact {digest!r}"
    raise CliError(ExitCode.NOT_FOUND, "artifact_not_found", message, f"courante artifacts {page.run_id}")


def _list(call: Call, page: ArtifactPage) -> None:
    call.out.json(msgspec.to_builtins(page))
    if not page.artifacts:
        call.out.text("no artifacts")
        return
    rows = [[each.digest, each.content_type, f"{each.size_bytes:,}", each.step or ""] for each in page.artifacts]
    call.out.table(["digest", "content type", "bytes", "step"], rows)
