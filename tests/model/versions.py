"""Other versions of drawn documents: steps and ways more or less, and joins that join otherwise."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any, cast

from model.reading.draw import HANDLER
from model.reading.graph import Document, from_document
from model.reading.regions import refusal

TRIES = 20


def is_sound(document: Document) -> bool:
    return not refusal(from_document(document))


def another_version(
    document: Document, random: Random, is_accepted: Callable[[dict[str, Any]], bool] = is_sound
) -> Document:
    """Return an accepted document that differs from ``document`` in one to three things, or itself."""
    for _ in range(TRIES):
        drawn: dict[str, Any] = deepcopy(dict(document))
        for _ in range(random.choice((1, 1, 2, 3))):
            random.choice((_add, _add, _remove, _join, _split, _unlink, _append, _turn))(drawn, random)
        if drawn["nodes"] and is_accepted(drawn):
            return drawn
    return document


def wider_maps(document: Document, random: Random, is_accepted: Callable[[dict[str, Any]], bool]) -> Document:
    """Return a version with other windows of its maps, and a step more at its end where that may be."""
    drawn: dict[str, Any] = deepcopy(dict(document))
    for node in _nodes(drawn):
        if node["type"] == "map":
            node["config"]["max_concurrency"] = random.randint(1, 5)
    longer = deepcopy(drawn)
    _append(longer, random)
    return longer if is_accepted(longer) else drawn


def _nodes(drawn: dict[str, Any]) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", drawn["nodes"])


def _new(drawn: dict[str, Any], random: Random, **more: Any) -> dict[str, Any]:
    """A node of a name that nobody has, anywhere among the others."""
    name = next(f"x{at}" for at in range(100) if all(node["id"] != f"x{at}" for node in _nodes(drawn)))
    node = {"id": name, "type": "function", "config": {"handler": HANDLER}, "retry": {"max_attempts": 1}, **more}
    _nodes(drawn).insert(random.randint(0, len(_nodes(drawn))), node)
    return node


def _depend(node: dict[str, Any], source: str) -> None:
    node["depends_on"] = sorted({*node.get("depends_on", []), source})


def _add(drawn: dict[str, Any], random: Random) -> None:
    """A step behind some others, and perhaps in front of one."""
    names = [node["id"] for node in _nodes(drawn)]
    node = _new(drawn, random, depends_on=random.sample(names, min(len(names), random.choice((1, 1, 2)))))
    if random.random() < 0.3:
        _depend(random.choice(_nodes(drawn)), node["id"])


def _append(drawn: dict[str, Any], random: Random) -> None:
    """A step behind one that nothing depends on."""
    used = {source for node in _nodes(drawn) for source in node.get("depends_on", [])}
    last = [node["id"] for node in _nodes(drawn) if node["id"] not in used]
    if last:
        _new(drawn, random, depends_on=[random.choice(last)])


def _split(drawn: dict[str, Any], random: Random) -> None:
    """A step on the way between two."""
    ways = [(node, source) for node in _nodes(drawn) for source in node.get("depends_on", [])]
    if ways:
        node, source = random.choice(ways)
        between = _new(drawn, random, depends_on=[source])
        node["depends_on"] = [between["id"] if each == source else each for each in node["depends_on"]]


def _remove(drawn: dict[str, Any], random: Random) -> None:
    """A step that no rule and no loop names, with all its ways."""
    nodes = _nodes(drawn)
    named = {target for node in nodes for rule in node.get("rules", []) for target in rule["next"]}
    named |= {target for node in nodes for target in node.get("default", [])}
    named |= {node["loop"]["back_to"] for node in nodes if "loop" in node}
    free = [node for node in nodes if node["id"] not in named]
    if not free:
        return
    gone = random.choice(free)
    nodes.remove(gone)
    for node in nodes:
        for holder, field in ((node, "depends_on"), (node, "on_error"), (node.get("loop", {}), "on_exhausted")):
            if gone["id"] in holder.get(field, []):
                holder[field] = [each for each in holder[field] if each != gone["id"]]
                if not holder[field]:
                    del holder[field]
    drawn["edges"] = [e for e in drawn.get("edges", []) if gone["id"] not in (e["from"], e["to"])]
    if not drawn["edges"]:
        del drawn["edges"]


def _join(drawn: dict[str, Any], random: Random) -> None:
    """One more way."""
    one, other = random.choice(_nodes(drawn)), random.choice(_nodes(drawn))
    if one is not other:
        _depend(one, other["id"])


def _unlink(drawn: dict[str, Any], random: Random) -> None:
    """One way less."""
    ways = [node for node in _nodes(drawn) if len(node.get("depends_on", [])) > 1]
    if ways:
        node = random.choice(ways)
        node["depends_on"].remove(random.choice(node["depends_on"]))


def _turn(drawn: dict[str, Any], random: Random) -> None:
    """Another policy of a join."""
    joins = [node for node in _nodes(drawn) if len(node.get("depends_on", [])) > 1]
    if joins:
        random.choice(joins)["join"] = random.choice(("all", "every", "any", "each"))
