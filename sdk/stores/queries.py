"""Named SQL blocks: ``sql/<noun>.sql``, each block headed ``-- name: verb_noun``. A test prepares every one of them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

_HEAD = "-- name: "


@cache
def load_queries(noun: str) -> dict[str, str]:
    """Return the blocks of ``sql/<noun>.sql`` by name."""
    text = (files("courante") / "sdk" / "stores" / "sql" / f"{noun}.sql").read_text("utf-8")
    blocks: dict[str, str] = {}
    for block in text.split(_HEAD)[1:]:
        name, _, sql = block.partition("\n")
        blocks[name.strip()] = sql.strip()
    return blocks
