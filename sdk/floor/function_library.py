"""A script as a function library: what is the same in every call is made once, when the server loads it.

As a script its whole text runs in each call, and makes a hundred functions before the first of them is used: half of
the time of a call for one step. The text is the same; what a call has of its own stands below ``-- @each call``, up to
an empty line, as ``local a, b = ...`` on a line each. What stands behind the script's last include is the body.

Source: https://valkey.io/topics/functions-intro/
"""

from __future__ import annotations

import re
from typing import NamedTuple

LIBRARIES_MAX = 4
"""Other versions of a script that a server keeps. Beyond, all are dropped, and who needs one loads it again."""
_SHEBANG = re.compile(r"\A#!lua(?: flags=([\w,-]+))?\n")
_EACH_CALL = re.compile(r"^-- @each call\n((?:local .+\n)+)", re.MULTILINE)
_LOCAL = re.compile(r"^local ([\w, ]+) = (.+)$", re.MULTILINE)


class Library(NamedTuple):
    """``family``: what the libraries of all versions of the script are called, up to their hash."""

    family: str
    name: str
    source: bytes


def library_of(name: str, sha: str, shared: str, body: str) -> Library:
    """Return a script as a library with one function, of the library's name.

    shared: the text up to the end of the last include, with the first line; body: what comes behind.
    """
    family = f"courante_{name}_"
    own = family + sha[:16]
    shebang = _SHEBANG.match(shared)
    assert shebang is not None, name
    begins: list[str] = []

    def declare(block: re.Match[str]) -> str:
        begins.append(_LOCAL.sub(r"\1 = \2", block[1]))
        return _LOCAL.sub(r"local \1", block[1])

    once = _EACH_CALL.sub(declare, shared[shebang.end() :])
    flags = ", ".join(f"'{flag}'" for flag in (shebang[1] or "").split(",") if flag)
    parts = [
        f"#!lua name={own}\nlocal KEYS, ARGV\n{once}\nlocal function begin(keys, words)\nKEYS, ARGV = keys, words\n",
        *begins,
        f"end\n\nlocal function body()\n{body}end\n\n",
        f"redis.register_function{{function_name='{own}', flags={{{flags}}}, callback=function(keys, words)\n",
        "begin(keys, words)\nreturn body()\nend}\n",
    ]
    return Library(family, own, "".join(parts).encode())
