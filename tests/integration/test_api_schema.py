"""Requests made of the OpenAPI document, allowed and forbidden ones, against a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from integration.http_calls import open_server
from integration.stage import Stage

pytestmark = pytest.mark.anyio
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.parametrize("phase", ["fuzzing", pytest.param("coverage", marks=pytest.mark.long)])
async def test_every_answer_is_as_the_document_says(stage: Stage, tmp_path: Path, phase: str) -> None:
    """None is a fault of the server, and status, type and content are those that are declared."""
    await stage.register({"id": "a", "type": "noop"})
    stage.worker()
    stage.supervisor()
    async with open_server(stage) as api:
        await api.post("/v1/runs", json={"workflow": "w"})
        command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{api.base_url}/v1/openapi.json"]
        command += ["--exclude-path", "/v1/events", "--phases", phase, "-n", "3", "--seed", "1"]
        command += ["--checks", CHECKS, "--continue-on-failure", "--no-color"]
        done = await anyio.run_process(command, cwd=tmp_path, check=False, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()[-5_000:]
