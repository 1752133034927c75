"""What the small protocol clients report, and what is said about a home that cannot be one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from courante.sdk.embedded import EmbeddedError, Servers, hold
from courante.sdk.embedded.wire import NotReadyError, PostgresWire, RefusedError, ping_redis


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A home that cannot be one is an error that names COURANTE_HOME."""
    (tmp_path / "home").write_text("")
    with pytest.raises(EmbeddedError, match="cannot use") as caught, hold(tmp_path / "home"):
        pass
    assert "COURANTE_HOME" in caught.value.hint


def test_a_refused_statement_is_told_from_an_absent_server(embedded_servers: Servers, tmp_path: Path) -> None:
    """What the server refuses is RefusedError; no server at all is NotReadyError."""
    directory = Path(parse_qs(urlsplit(embedded_servers.database_url).query)["host"][0])
    with pytest.raises(RefusedError, match="syntax error"), PostgresWire(directory, "courante") as connection:
        connection.query("SELEC 1")
    with pytest.raises(RefusedError, match="does not exist"):
        PostgresWire(directory, "no_such_database")
    with PostgresWire(directory, "courante") as connection:
        assert connection.query("SELECT generate_series(1, 5)") == 5
    with pytest.raises(NotReadyError):
        PostgresWire(tmp_path, "courante")
    with pytest.raises(NotReadyError):
        ping_redis(tmp_path / "redis.sock")
