"""Files of ``courante audit``: bundles, anchors and keys, and what is told while one is read or written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, BinaryIO

from click import style

from .exits import CliError, ExitCode
from .output import Output, ReaderGone

if TYPE_CHECKING:
    from ..replay.audit.run_check import Bad
    from ..replay.audit.signing import Signer

STANDARD = "-"
COPY_BYTES = 1024 * 1024
TOLD_EVERY = 50_000
"""Events between two words of progress."""
BAD_SHOWN_MAX = 20
ANCHOR_BYTES_MAX = 16_384


class Told:
    """Progress, to stderr, where somebody looks at it."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._next = TOLD_EVERY

    def events(self, count: int) -> None:
        if count >= self._next:
            self._next = count - count % TOLD_EVERY + TOLD_EVERY
            if self._out.is_error_terminal:
                self._out.note(style(f"{count:,} events", dim=True))


def read_signer(file: str | None) -> Signer | None:
    """Raises KeyUnusable."""
    if file is None:
        return None
    from ..replay.audit.signing import Signer

    return Signer.read(Path(file))


def read_public_key(file: str | None) -> str | None:
    """Raises KeyUnusable."""
    if file is None:
        return None
    from ..replay.audit.signing import read_public

    return read_public(Path(file))


@contextmanager
def open_target(target: str) -> Generator[BinaryIO]:
    """A file that is there only when it is whole, or standard output. Raises CliError, ReaderGone."""
    if target == STANDARD:
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError as cause:
            raise ReaderGone from cause
        return
    part = Path(f"{target}.part")
    try:
        file = part.open("wb")
    except OSError as cause:
        raise not_writable(target, cause) from cause
    try:
        with file:
            yield file
        part.replace(target)
    except OSError as cause:
        raise not_writable(target, cause) from cause
    finally:
        part.unlink(missing_ok=True)


def not_writable(target: str, cause: OSError) -> CliError:
    return CliError(ExitCode.USAGE, "file_not_writable", f"{target} cannot be written: {cause.strerror}")


@contextmanager
def open_source(name: str) -> Generator[BinaryIO]:
    """A file that can be read twice; standard input is copied first. Raises CliError."""
    if name == STANDARD:
        with TemporaryFile() as copy:
            while chunk := sys.stdin.buffer.read(COPY_BYTES):
                copy.write(chunk)
            copy.seek(0)
            yield copy
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below
    except OSError as cause:
        raise CliError(ExitCode.NOT_FOUND, "file_not_found", f"{name} cannot be read: {cause.strerror}") from cause
    with file:
        yield file


def read_anchor_lines(name: str) -> Iterator[bytes]:
    """Yield the lines of a file of anchors, without their ends; empty ones are left out. Raises CliError."""
    with open_source(name) as file:
        while line := file.readline(ANCHOR_BYTES_MAX):
            if content := line.rstrip(b"\r\n"):
                yield content


def append_line(target: str, content: bytes) -> None:
    """Add a line to a file, and return when it is on the disk. Raises CliError."""
    try:
        with Path(target).open("ab") as file:
            file.write(content + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as cause:
        raise not_writable(target, cause) from cause


def show_bad(out: Output, bad: list[Bad], count: int, *, tell: Callable[[str], None] | None = None) -> None:
    """What is wrong, for people: the first things. tell: where it goes, if not to stdout."""
    tell = tell or out.text
    for one in bad[:BAD_SHOWN_MAX]:
        place = " ".join(filter(None, (one.run_id or "", f"event {one.seq}" if one.seq is not None else "")))
        told = f"expected {one.expected}; found {one.found}" if one.expected else one.found
        tell(f"  {out.glyph('error')} {f'{place}: ' if place else ''}{style(one.what, bold=True)}: {told}")
    if count > BAD_SHOWN_MAX:
        tell(f"  and {count - BAD_SHOWN_MAX:,} more")
