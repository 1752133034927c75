"""Where settings come from, and what is said about wrong ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from courante.sdk.settings import (
    FIELDS,
    LogLevel,
    Settings,
    SettingsError,
    load_settings,
    unknown_variables,
    variable_of,
)
from courante.sdk.urls import mask_password

SECRET = "hunter2"


def load(
    cwd: Path,
    flags: Mapping[str, object] | None = None,
    file: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Settings, dict[str, str]]:
    if file is not None:
        (cwd / "courante.toml").write_text(file)
    return load_settings(flags or {}, environ=environ or {}, cwd=cwd)


def refusal(
    cwd: Path,
    flags: Mapping[str, object] | None = None,
    file: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(cwd, flags, file, environ)
    return caught.value


def test_defaults_need_nothing(tmp_path: Path) -> None:
    """With no source at all every field has a value, and says so."""
    settings, sources = load(tmp_path, environ={"XDG_DATA_HOME": "/somewhere"})
    assert settings.home == Path("/somewhere/courante")
    assert (settings.redis_url, settings.database_url, settings.env) == (None, None, "default")
    assert set(sources) == set(FIELDS)
    assert set(sources.values()) == {"default"}


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    """Each source hides those below it, field by field, and is named."""
    file = "lease_ms = 2000\nconcurrency = 2\npartitions = 2\n"
    settings, sources = load(
        tmp_path, {"lease_ms": 4000}, file, environ={"COURANTE_LEASE_MS": "3000", "COURANTE_CONCURRENCY": "3"}
    )
    assert (settings.lease_ms, settings.concurrency, settings.partitions) == (4000, 3, 2)
    assert sources["lease_ms"] == "--lease-ms"
    assert sources["concurrency"] == "COURANTE_CONCURRENCY"
    assert sources["partitions"] == str(tmp_path / "courante.toml")


def test_absent_flags_and_empty_variables_do_not_count(tmp_path: Path) -> None:
    """None as a flag and an empty variable mean: not given."""
    settings, sources = load(tmp_path, {"lease_ms": None}, environ={"COURANTE_LEASE_MS": "", "COURANTE_REDIS_URL": ""})
    assert settings.lease_ms == 30_000
    assert settings.redis_url is None
    assert sources["redis_url"] == "default"


def test_text_becomes_the_type_of_the_field(tmp_path: Path) -> None:
    """The environment has only text; numbers, booleans and words are read from it."""
    settings, _ = load(
        tmp_path,
        environ={
            "COURANTE_PREFER_SYSTEM_SERVERS": "true",
            "COURANTE_LOG_LEVEL": "debug",
            "COURANTE_KEEPER_LINGER_S": "2.5",
            "COURANTE_PARTITIONS": "4",
        },
    )
    assert settings.prefer_system_servers is True
    assert settings.log_level is LogLevel.DEBUG
    assert settings.keeper_linger_s == 2.5
    assert settings.partitions == 4


def test_a_relative_home_is_meant_from_where_it_is_written(tmp_path: Path) -> None:
    """In a file it counts from the file, elsewhere from the working directory."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "my.toml").write_text('home = "data"\n')
    assert load(tmp_path, environ={"COURANTE_CONFIG": "etc/my.toml"})[0].home == tmp_path / "etc" / "data"
    assert load(tmp_path, environ={"COURANTE_HOME": "data/../other"})[0].home == tmp_path / "other"
    assert load(tmp_path, {"home": Path("x")})[0].home == tmp_path / "x"


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("lease_ms", "5", "a whole number from 1000 to 3600000"),
        ("lease_ms", "soon", "a whole number from 1000 to 3600000"),
        ("partitions", "0", "a whole number from 1 to 1024"),
        ("partitions", "1.5", "a whole number from 1 to 1024"),
        ("outbox_entries_soft", "-1", "a whole number, at least 1"),
        ("keeper_linger_s", "-1", "a number from 0 to 86400"),
        ("keeper_linger_s", "nan", "a number from 0 to 86400"),
        ("log_level", "loud", "one of debug, info, warning, error"),
        ("prefer_system_servers", "perhaps", "true or false"),
        ("env", "Prod", "a-z, 0-9"),
        ("env", "-prod", "the first a letter or digit"),
        ("env", "prod\n", "a-z, 0-9"),
        ("env", "a" * 65, "1 to 64"),
        ("env", "{x}", "a-z, 0-9"),
        ("api_proxies", "10.0.0.300", "addresses and networks, joined by commas"),
        ("api_proxies", "10.1.0.5/16", "has host bits set"),
        ("api_proxies", "*", "addresses and networks, joined by commas"),
        ("home", "a\0b", "the path of a directory"),
    ],
)
def test_a_wrong_value_names_field_source_and_what_is_allowed(
    tmp_path: Path, name: str, text: str, allowed: str
) -> None:
    """The error has all three as fields and in its text."""
    error = refusal(tmp_path, environ={variable_of(name): text})
    assert (error.field, error.source) == (name, variable_of(name))
    assert allowed in error.allowed
    assert all(part in str(error) for part in (name, variable_of(name), allowed))


@pytest.mark.parametrize("value", ['"4"', "true", "4.5", "[4]"])
def test_a_file_has_types_of_its_own(tmp_path: Path, value: str) -> None:
    """A number in quotes is a mistake in TOML."""
    error = refusal(tmp_path, file=f"partitions = {value}\n")
    assert (error.field, error.source) == ("partitions", str(tmp_path / "courante.toml"))


def test_unknown_names_are_refused_with_the_nearest(tmp_path: Path) -> None:
    """A misspelt name in the file or the flags does not pass unseen; a variable only gives a warning."""
    assert "did you mean 'lease_ms'?" in str(refusal(tmp_path, file="leasems = 5000\n"))
    assert "did you mean 'env'?" in str(refusal(tmp_path, {"envv": "x"}, ""))
    warnings = unknown_variables(
        {"COURANTE_REDISURL": "x", "COURANTE_CONFIG": "y", "COURANTE_ENV": "z", "COURANTE_VENV": "v"}
    )
    assert warnings == ["COURANTE_REDISURL is not a setting; did you mean 'COURANTE_REDIS_URL'?"]


def test_a_file_that_is_named_must_be_there_and_readable(tmp_path: Path) -> None:
    """Only the default file may be absent; a broken one is refused with the place of the mistake."""
    assert refusal(tmp_path, environ={"COURANTE_CONFIG": "none.toml"}).source == "COURANTE_CONFIG"
    assert "line 2" in str(refusal(tmp_path, file="partitions = 1\nx = = 1"))


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("redis_url", "redis://localhost:6379/0"),
        ("redis_url", "rediss://u:p@[::1]:6379"),
        ("redis_url", "unix:///run/redis.sock?db=0"),
        ("redis_url", "unix://u:p@/run/redis.sock"),
        ("database_url", "postgres://u:p@h/db"),
        ("database_url", "postgresql://postgres@/courante?host=/run/dir"),
    ],
)
def test_good_urls_pass_unchanged(tmp_path: Path, name: str, url: str) -> None:
    """The forms that both clients take are taken."""
    settings, _ = load(tmp_path, environ={variable_of(name): url})
    assert getattr(settings, name) == url


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("redis_url", f"http://u:{SECRET}@h"),
        ("redis_url", f"u:{SECRET}@h:6379"),
        ("redis_url", f"redis://u:{SECRET}@h:port"),
        ("redis_url", f"redis://u:{SECRET}@h:99999"),
        ("redis_url", f"redis://u:{SECRET}@"),
        ("redis_url", f"redis://u:{SECRET}@h /0"),
        ("redis_url", f"redis://u:{SECRET}@[h"),
        ("redis_url", f"unix://u:{SECRET}@"),
        ("redis_url", "unix://run/redis.sock"),
        ("database_url", f"redis://u:{SECRET}@h"),
        ("database_url", f"postgres:///db?password={SECRET}"),
        ("database_url", f"host=h password={SECRET}"),
    ],
)
def test_bad_urls_are_refused_without_their_password(tmp_path: Path, name: str, url: str) -> None:
    """Another scheme, no host, a wrong port: refused, and the password is in no text of the error."""
    error = refusal(tmp_path, environ={variable_of(name): url})
    assert error.field == name
    assert SECRET not in f"{error!s} {error!r} {error.args}"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@h:1/0",
        f"redis://u:{SECRET}@h",
        f"postgres://u:a@{SECRET}@h/db",
        f"postgres://u:a/{SECRET}@h/db",
        f"postgres://h/db?user=u&password={SECRET}&x=1",
        f"postgres://h/db?sslpassword={SECRET}",
    ],
)
def test_shown_settings_hold_no_password(tmp_path: Path, url: str) -> None:
    """Neither the masked URL nor the printed struct has it, and the rest of the URL stays."""
    masked = mask_password(url)
    assert SECRET not in masked
    assert "***" in masked
    assert masked.startswith(url.partition("://")[0] + "://")
    settings, _ = load(tmp_path)
    field = "redis_url" if url.startswith("redis") else "database_url"
    values: dict[str, str | None] = {"redis_url": None, "database_url": None} | {field: url}
    shown = Settings(home=settings.home, redis_url=values["redis_url"], database_url=values["database_url"])
    assert SECRET not in repr(shown)
    assert shown.show()[field] == masked


def test_limits_fit_together(tmp_path: Path) -> None:
    """A soft limit above the hard one is refused, and the one that was set is named."""
    error = refusal(tmp_path, environ={"COURANTE_OUTBOX_ENTRIES_HARD": "10"})
    assert "outbox_entries_hard, which is 10 (COURANTE_OUTBOX_ENTRIES_HARD)" in str(error)
    assert (
        refusal(tmp_path, environ={"COURANTE_INLINE_BYTES_MAX": "2048", "COURANTE_PAYLOAD_BYTES_MAX": "1024"}).field
        == "inline_bytes_max"
    )


def test_every_setting_is_in_the_reference_with_its_default() -> None:
    """docs/reference/settings.md has a row for each, in order."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE)
    assert [name for name, _ in rows] == list(FIELDS)
    for field in msgspec.structs.fields(Settings):
        shown = dict(rows)[field.name].strip("` ")
        if field.default is not None and field.name != "home":
            assert shown == (str(field.default).lower() if isinstance(field.default, bool) else str(field.default))
