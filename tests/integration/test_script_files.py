"""Scripts, headers, wrappers and the dictionary of keys say the same."""

from __future__ import annotations

import inspect
import re
from importlib.resources import files
from pathlib import Path

import pytest

from courante.sdk.floor import cache_calls, repairs, scripts
from courante.sdk.keys import Keys
from courante.sdk.migration import migration_calls
from courante.sdk.restarts import restart_calls

LUA = Path(str(files("courante") / "lua"))
NAMES = sorted(path.stem for path in LUA.glob("*.lua"))
MODULES = (scripts, repairs, restart_calls, migration_calls, cache_calls)
SOURCE = "".join(map(inspect.getsource, MODULES))
INCLUDES = sorted(path.stem for path in (LUA / "includes").glob("*.lua"))


def header_and_body(name: str) -> tuple[str, str]:
    head, end, body = (LUA / f"{name}.lua").read_text("utf-8").partition("]]\n")
    assert end, f"{name}.lua has no header"
    return head, body


@pytest.mark.parametrize("name", NAMES)
def test_every_script_has_a_header_that_names_what_it_uses(name: str) -> None:
    head, body = header_and_body(name)
    assert head.startswith((f"#!lua\n--[[ {name}: ", f"#!lua flags=allow-oom\n--[[ {name}: "))
    assert "Returns" in head
    for table in ("KEYS", "ARGV"):
        used = {int(index) for index in re.findall(rf"\b{table}\[(\d+)\]", body)}
        named = {int(index) for index in re.findall(rf"\b{table}\[(\d+)(?:\.\.)?\]", head)}
        if named or table == "KEYS":
            assert used <= named, f"{name}.lua uses {table}{sorted(used - named)} and its header does not say so"


@pytest.mark.parametrize("name", NAMES)
def test_every_script_has_one_wrapper_of_its_name(name: str) -> None:
    assert SOURCE.count(f'load_script("{name}")') == 1
    (wrapper,) = {getattr(module, name) for module in MODULES if hasattr(module, name)}
    assert f'load_script("{name}")' in inspect.getsource(wrapper)


def test_no_wrapper_is_without_a_script() -> None:
    assert sorted(re.findall(r'load_script\("(\w+)"\)', SOURCE)) == NAMES


@pytest.mark.parametrize("name", INCLUDES)
def test_every_include_says_what_it_is_and_is_used(name: str) -> None:
    assert (LUA / "includes" / f"{name}.lua").read_text("utf-8").startswith(f"-- {name}: ")
    assert any(f"-- @include {name}\n" in path.read_text("utf-8") for path in LUA.rglob("*.lua"))


@pytest.mark.parametrize("name", NAMES)
def test_scripts_have_nothing_that_is_forbidden(name: str) -> None:
    """No random, no JSON, no wall clock but Redis TIME, no error kept back but a read's; all includes expanded."""
    source = scripts.load_script(name).source.decode()
    assert "@include" not in source
    source = re.sub(r"--.*", "", source)
    assert not re.search(r"\b(xpcall|math\.random|cjson|cmsgpack|os\.\w+)\b", source)
    assert not re.search(r"(?<!redis\.)\bpcall\b", source)
    asked = re.findall(r"\b(?:redis\.pcall|ask)\('(\w+)'", source)
    assert set(asked) <= {"HGET", "HMGET"}


@pytest.mark.parametrize("name", INCLUDES)
def test_an_include_keeps_nothing_from_call_to_call(name: str) -> None:
    """What changes, or comes from the call, stands below ``@each call``; all else is made once (``calling``)."""
    text = (LUA / "includes" / f"{name}.lua").read_text("utf-8")
    text = re.sub(r"^-- @each call\n(?:local .+\n)+", "", text, flags=re.MULTILINE)
    for line in re.findall(r"^local [\w, ]+ = .+$", text, re.MULTILINE):
        assert not re.search(r"\b(KEYS|ARGV|redis|BASE|META|EPOCH|NOW)\b", line), line
        assert not re.search(r"[=,] \{\}", line) or "OPERATIONS" in line, line


def test_the_dictionary_lists_every_key() -> None:
    """The keys of ``sdk/keys.py`` and every name that a script puts behind the partition's tag."""
    listed = {
        f"{prefix} {pattern.partition('<')[0]}"
        for prefix, pattern in re.findall(
            r"^\| `([PE])` `([^`]+)` \|", (LUA / "KEYS.md").read_text("utf-8"), re.MULTILINE
        )
    }
    keys = Keys("x")
    at = keys.partition(0)
    known = {f"P {value.removeprefix(at.base)}" for value in vars(at).values() if value != at.base}
    made = (at.run(""), at.queue(""), at.worker(""), at.partial(""), at.talk(""))
    known |= {f"P {value.removeprefix(at.base)}" for value in made}
    cached = (keys.cached(""), keys.cache_lock(""), keys.cache_floors)
    known |= {f"E {value.removeprefix(keys.prefix)}" for value in (keys.ir(""), keys.blob(""), *cached)}
    for path in LUA.rglob("*.lua"):
        known |= {f"P {name}" for name in re.findall(r"BASE \.\. '([\w:]+)'", path.read_text("utf-8"))}
    assert known == listed
