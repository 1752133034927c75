"""Children of ``up`` and of benchmarks decide nothing anew: their environment says every setting that is in force."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from courante.cli.children import environment_of
from courante.sdk.settings import load_settings

URLS = {"redis_url": "redis://127.0.0.1:1", "database_url": "postgresql://127.0.0.1:1/x"}


@pytest.mark.parametrize("said", [{}, {"key_ring": "ring.json"}, {"concurrency": "7", "env": "other"}])
def test_a_child_has_the_same_settings(said: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what is not set: that is left out, not said in words."""
    monkeypatch.setenv("COURANTE_KEY_RING", "from-outside.json")
    settings, _ = load_settings(said, environ={}, cwd=tmp_path)
    found, _ = load_settings({}, environ=environment_of(settings, **URLS), cwd=Path("/"))
    assert found == msgspec.structs.replace(settings, **URLS)
