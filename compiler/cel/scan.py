"""The first look at a source, before any parser: limits, and string literals.

The parser's own pattern for strings misreads raw strings and takes exponential time on an unclosed one, so strings
are read here, by the CEL language definition, and handed to the parser as ``'xxx'`` of the same length: offsets stay.
Comments and the comma that may trail a list or map become blanks. One pass, linear in the source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import ExpressionError

MAX_SOURCE = 8_192
"""Code points of one expression."""
MAX_NESTING = 64
"""Brackets inside brackets."""

_TOKEN = re.compile(
    r"""(?P<string>(?P<prefix>[bB]?[rR]?)(?P<quote>\"\"\"|'''|"|'))"""
    r"""|(?P<comment>//[^\r\n]*)|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<comma>,)"""
    r"""|(?P<word>[A-Za-z_0-9]+)|(?P<blank>[ \t\r\n\f]+)|(?P<other>.)""",
    re.DOTALL,
)
_BODY = {
    '"': re.compile(r'(?:[^\\"\r\n]|\\[^\r\n])*"'),
    "'": re.compile(r"(?:[^\\'\r\n]|\\[^\r\n])*'"),
    '"""': re.compile(r'(?:[^\\"]|\\.|"(?!""))*"""', re.DOTALL),
    "'''": re.compile(r"(?:[^\\']|\\.|'(?!''))*'''", re.DOTALL),
}
_RAW_BODY = {
    '"': re.compile(r'[^"\r\n]*"'),
    "'": re.compile(r"[^'\r\n]*'"),
    '"""': re.compile(r'(?:[^"]|"(?!""))*"""'),
    "'''": re.compile(r"(?:[^']|'(?!''))*'''"),
}
_ESCAPE = re.compile(
    r"\\(?:[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|([abfnrtv\\?\"'`])|)", re.DOTALL
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_PAIR = {")": "(", "]": "[", "}": "{"}


@dataclass(frozen=True, slots=True)
class Scanned:
    """``text``: what the parser gets, as long as the source. ``strings``: each literal's value by its offset."""

    text: str
    strings: dict[int, str | bytes]


def scan(source: str) -> Scanned:
    """Check the limits and take the string literals out. Raises ExpressionError."""
    if len(source) > MAX_SOURCE:
        raise ExpressionError(
            "expression_too_long",
            f"the expression has {len(source):,} characters, more than {MAX_SOURCE:,}",
            hint="compute it in a step, or split it over several",
        )
    if not source.strip():
        raise ExpressionError("expression_syntax", "the expression is empty", offset=0)
    scanner = _Scanner(source)
    scanner.run(0)
    return Scanned("".join(scanner.parts), scanner.strings)


def find_end(text: str, start: int) -> int:
    """Find the ``}}`` that closes a template expression beginning at ``start``; -1 when there is none."""
    return _Scanner(text).run(start, stop="}}")


class _Scanner:
    def __init__(self, source: str) -> None:
        self._source = source
        self.parts: list[str] = []
        self.strings: dict[int, str | bytes] = {}
        self._brackets: list[tuple[str, int]] = []
        self._comma = -1  # index in parts of a comma not yet followed by anything
        self._after_open = True

    def run(self, start: int, *, stop: str = "") -> int:
        """Read to the end, or to a ``stop`` outside all brackets and strings. Returns its offset, -1 at the end."""
        source, position = self._source, start
        while position < len(source):
            if stop and not self._brackets and source.startswith(stop, position):
                return position
            found = _TOKEN.match(source, position)
            assert found is not None, "the last alternative takes any character"
            kind = found.lastgroup
            end = self._string(found) if found["string"] is not None else found.end()
            if found["string"] is None:
                self._plain(str(kind), found[0], position)
            position = end
        if self._brackets and not stop:
            bracket, offset = self._brackets[-1]
            raise ExpressionError("expression_syntax", f"{bracket!r} is never closed", offset=offset)
        return -1

    def _plain(self, kind: str, text: str, offset: int) -> None:
        if kind in ("blank", "comment"):
            self.parts.append(text if kind == "blank" else " " * len(text))
            return
        if kind == "open":
            self._brackets.append((text, offset))
            if len(self._brackets) > MAX_NESTING:
                raise ExpressionError(
                    "expression_too_deep", f"more than {MAX_NESTING} brackets inside each other", offset=offset
                )
        elif kind == "close":
            if not self._brackets or self._brackets[-1][0] != _PAIR[text]:
                raise ExpressionError("expression_syntax", f"unexpected {text!r}", offset=offset)
            self._brackets.pop()
            if self._comma >= 0 and text in "]}":
                self.parts[self._comma] = " "
        self._comma = len(self.parts) if kind == "comma" and not self._after_open else -1
        self._after_open = kind in ("open", "comma")
        self.parts.append(text)

    def _string(self, found: re.Match[str]) -> int:
        source, start, quote = self._source, found.start(), found["quote"]
        is_raw = "r" in found["prefix"].lower()
        body = (_RAW_BODY if is_raw else _BODY)[quote].match(source, found.end())
        if body is None:
            raise ExpressionError("expression_syntax", "the string is never closed", offset=start)
        content = body[0][: -len(quote)]
        is_bytes = "b" in found["prefix"].lower()
        self.strings[start] = _decode(content, found.end(), is_raw=is_raw, is_bytes=is_bytes)
        self.parts.append("'" + "x" * (body.end() - start - 2) + "'")
        self._comma, self._after_open = -1, False
        return body.end()


def _decode(content: str, offset: int, *, is_raw: bool, is_bytes: bool) -> str | bytes:
    """Expand escapes. Raises ExpressionError for an unknown one, or for text that is not Unicode."""
    pieces: list[bytes] = []
    position = 0
    try:
        if is_raw or "\\" not in content:
            encoded = content.encode()
            return encoded if is_bytes else content
        while position < len(content):
            backslash = content.find("\\", position)
            if backslash < 0:
                backslash = len(content)
            pieces.append(content[position:backslash].encode())
            position = backslash
            if backslash < len(content):
                found = _ESCAPE.match(content, backslash)
                assert found is not None, "a backslash stands here"
                pieces.append(_escape(found, offset + backslash, is_bytes=is_bytes))
                position = found.end()
    except UnicodeEncodeError:
        raise ExpressionError("expression_syntax", "the string is not valid Unicode", offset=offset) from None
    joined = b"".join(pieces)
    return joined if is_bytes else joined.decode()


def _escape(found: re.Match[str], offset: int, *, is_bytes: bool) -> bytes:
    hexadecimal, short, long, octal, letter = found.groups()
    if letter is not None:
        return _SIMPLE.get(letter, letter).encode()
    if hexadecimal or octal:
        code = int(hexadecimal, 16) if hexadecimal else int(octal, 8)
        return bytes([code]) if is_bytes else chr(code).encode()
    code = int(short or long or "0", 16)
    if is_bytes or not (short or long) or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise ExpressionError(
            "expression_syntax",
            "unknown escape in a string",
            offset=offset,
            hint="a backslash is written \\\\, or the string with r in front: r'\\d+'",
        )
    return chr(code).encode()
