"""From a source to its syntax tree: cel-python's grammar, nothing of its evaluators.

The grammar file is found without importing celpy (which takes 100 ms more and keeps its parser in a class that
other users of celpy in this process share). One parser for the process, made at the first expression that needs it,
used under a lock. Nothing here recurses deeper than ``MAX_DEPTH`` allows, whatever the source.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from pathlib import Path
from typing import Protocol, cast

from .errors import ExpressionError
from .reader import LarkTree, Reader
from .scan import Scanned, scan
from .syntax import Node


class _Parser(Protocol):
    def parse(self, text: str) -> LarkTree: ...


_lock = threading.Lock()
_parser: _Parser | None = None


def parse(source: str) -> Node:
    """Make the syntax tree. Raises ExpressionError."""
    scanned = scan(source)
    return Reader(scanned).read(_parse(source, scanned), 0)


def _parse(source: str, scanned: Scanned) -> LarkTree:
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

    with _lock:
        try:
            return _made_parser().parse(scanned.text)
        except UnexpectedInput as error:
            offset = error.pos_in_stream if error.pos_in_stream is not None else -1
            if isinstance(error, UnexpectedCharacters) and 0 <= offset < len(source):
                message = f"unexpected {source[offset]!r}"
            elif isinstance(error, UnexpectedToken) and str(getattr(error, "token", "")):
                message = f"unexpected {_word_at(source, offset)!r}"
            else:
                message, offset = "the expression ends too early", len(source)
            raise ExpressionError("expression_syntax", message, offset=offset, hint=_hint(source, offset)) from None


def _made_parser() -> _Parser:
    global _parser  # noqa: PLW0603 - made once, on first use: building it takes 100 ms
    if _parser is None:
        from lark import Lark, Token

        def words(token: Token) -> Token:
            return Token.new_borrow_pos("BOOL_LIT", token.value, token) if token in ("true", "false") else token

        found = importlib.util.find_spec("celpy")
        if found is None or not found.submodule_search_locations:
            raise ImportError("cel-python is not installed", name="celpy")
        grammar = Path(found.submodule_search_locations[0], "cel.lark").read_text(encoding="utf-8")
        parser = Lark(
            grammar,
            parser="lalr",
            start="expr",
            g_regex_flags=re.MULTILINE,
            lexer_callbacks={"IDENT": words},
            propagate_positions=True,
            maybe_placeholders=False,
            priority="invert",
        )
        _parser = cast("_Parser", parser)
    return _parser


def _word_at(source: str, offset: int) -> str:
    found = re.compile(r"\w+|[&|=<>!]{1,2}|.", re.DOTALL).match(source, max(offset, 0))
    return found[0] if found else ""


def _hint(source: str, offset: int) -> str:
    """Name the cure of what people write from habit."""
    rest = source[offset : offset + 4] if offset >= 0 else ""
    if re.match(r"(and|or|not)\b", rest):
        return {"an": "and is written &&", "or": "or is written ||", "no": "not is written !"}[rest[:2]]
    if rest[:1] in ("=", "&", "|"):
        return "compare with ==, join conditions with && and ||"
    if rest[:1] == "`":
        return 'a field with such a name is reached as x["name"]'
    return ""
