"""Secrets: values that documents and steps name and that never stand in either.

A worker reads ``NAME`` from its variable ``COURANTE_SECRET_NAME``, else from the file ``NAME`` of its directory of
secrets (setting ``secrets_dir``), each time it is asked, so that a changed one is taken up. Nothing else of the
environment can be read. What was read is masked in errors and logs from then on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..step_error import StepError
from .redaction import REDACTOR

PREFIX = "COURANTE_SECRET_"
DIRECTORY_VARIABLE = "COURANTE_SECRETS_DIR"
NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
BYTES_MAX = 65_536
_NAME = re.compile(NAME_PATTERN.removesuffix("$"))


class Secrets:
    """Reads secrets of this process. ``directory``: None where there is none."""

    def __init__(self, directory: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self._environ = os.environ if environ is None else environ

    def read(self, name: str) -> str:
        """Return the value. Raises StepError (CONFIG_INVALID), without any value in it."""
        if not _NAME.fullmatch(name):
            raise StepError("CONFIG_INVALID", f"{name[:200]!r} is no name of a secret: letters, digits and _")
        value = self._value(name)
        if not value:
            places = f"the variable {PREFIX}{name}" + ("" if self.directory is None else f" or the file {name}")
            raise StepError("CONFIG_INVALID", f"this worker has no secret {name!r}: give it {places}")
        REDACTOR.register(value)
        return value

    def find(self, name: str) -> str:
        """Return the value, also of the plain variable of this name, nothing where there is none.

        For names that the engine has itself, as those of the keys that providers of models give out: no document may
        choose one.
        """
        value = self._value(name) or self._environ.get(name, "")
        if value:
            REDACTOR.register(value)
        return value

    def _value(self, name: str) -> str | None:
        value = self._environ.get(PREFIX + name)
        if value is None and self.directory is not None:
            value = _read_file(self.directory / name)
        return value


def _read_file(path: Path) -> str | None:
    """Return the text of a file without its last line break; None where it cannot be used."""
    try:
        if not path.is_file() or path.stat().st_size > BYTES_MAX:
            return None
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text.removesuffix("\n").removesuffix("\r")


class NamedSecrets(Mapping[str, str]):
    """The secrets as an expression reads them, by name. ``used``: the values that were read."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> str:
        value = self._secrets.read(name)
        self.used.add(value)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
