from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from courante.sdk.errors import ServiceUnavailable
from courante.sdk.server_errors import POSTGRES_ERRORS
from courante.sdk.unavailable import AsUnavailable

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("by peer"),
        asyncpg.CannotConnectNowError("the database system is shutting down"),
        asyncpg.InterfaceError("the connection is closed"),
        asyncpg.InternalClientError("another operation is in progress"),
    ],
)
def test_a_postgres_that_is_away_is_said_so(error: Exception) -> None:
    """Whatever asyncpg makes of a connection that is lost in the middle, the caller hears that Postgres is away."""
    with pytest.raises(ServiceUnavailable, match="Postgres"), AsUnavailable():
        raise error


def test_a_full_disk_is_no_server_that_is_away() -> None:
    """F51: whoever is refused hears what is to be done."""
    with (
        pytest.raises(ServiceUnavailable, match=r"^the disk of Postgres is full: no space") as refused,
        AsUnavailable(),
    ):
        raise asyncpg.DiskFullError("no space")
    assert "make room" in refused.value.hint


def test_what_a_server_that_is_away_shows_as_has_one_home() -> None:
    """A loop with a list of its own would miss one of them, and end where it should wait."""
    files = [path for folder in ("runner", "sdk", "supervisor") for path in (ROOT / folder).rglob("*.py")]
    own = [path.name for path in files if "asyncpg.InterfaceError" in path.read_text("utf-8")]
    assert own == ["server_errors.py"]
    assert asyncpg.InternalClientError in POSTGRES_ERRORS
