"""Postgres' binary COPY format, written by hand where rows repeat themselves.

A row is a 16-bit number of columns, then per column a 32-bit length (-1: NULL) and the value; all big-endian.
Source: the PostgreSQL manual, COPY, "Binary Format". Pieces that many rows share are made once and joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any

from .connection import Connection

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_columns = Struct(">h").pack
_length = Struct(">i").pack
_bigint = Struct(">iq").pack
_TRUE, _FALSE = _length(1) + b"\1", _length(1) + b"\0"
_TEXT_OID = 25
_no_texts = _length(12) + Struct(">iii").pack(0, 0, _TEXT_OID)
_texts = Struct(">iiiii").pack


def columns(count: int) -> bytes:
    """Return what a row begins with."""
    return _columns(count)


def text(value: str) -> bytes:
    content = value.encode()
    return _length(len(content)) + content


def bytea(value: bytes) -> bytes:
    return _length(len(value)) + value


def bigint(value: int) -> bytes:
    """Raises struct.error beyond 64 bits."""
    return _bigint(8, value)


def timestamptz(at: datetime) -> bytes:
    """at: with a time zone; UTC is faster than others."""
    return _bigint(8, (at - _EPOCH) // _US)


def boolean(value: bool) -> bytes:
    return _TRUE if value else _FALSE


def jsonb(content: str) -> bytes:
    encoded = content.encode()
    return _length(len(encoded) + 1) + b"\1" + encoded


def texts(values: Sequence[str]) -> bytes:
    """Return a column of type text[]."""
    if not values:
        return _no_texts
    content = _texts(1, 0, _TEXT_OID, len(values), 1) + b"".join(map(text, values))
    return _length(len(content)) + content


async def copy_rows(conn: Connection, table: str, names: Sequence[str], rows: bytearray) -> None:
    """COPY rows into a table; names: its columns in the order of the rows.

    As a buffer, which asyncpg takes too. A file, even one in memory, it reads in a thread, at two hops a table; and
    a connection that breaks in between leaves it with an operation that never ends.
    """
    source: Any = bytearray().join((HEADER, rows, TRAILER))
    await conn.copy_to_table(table, source=source, columns=list(names), format="binary")
