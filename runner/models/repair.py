"""Repair: an answer that was no JSON of the wanted shape is shown to the model again, with what is wrong about it.

That happens in the next attempt, so that each call is an attempt of its own: what is needed for it travels as the
details of a heartbeat. Pure.
"""

from __future__ import annotations

import msgspec

from ...sdk.authoring.context import HEARTBEAT_BYTES_MAX
from .request import Message, ModelRequest

ANSWER_BYTES_MAX = 4 * 1024
PROBLEMS_BYTES_MAX = 2 * 1024
PROBLEM_BYTES_MIN = 500
CUT = " [...]"


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an attempt leaves to the next ones. ``answer``: that was wrong, and ``problems``: what about it.

    ``attempt``, ``lost``: the lost deliveries of this attempt whose calls are in the log already.
    """

    answer: str = ""
    problems: tuple[str, ...] = ()
    attempt: int = 0
    lost: int = 0


NOTHING_TOLD = Told()


def read_told(details: bytes | None) -> Told:
    """Return what the attempt before has left; what cannot be read counts as nothing."""
    if details is None:
        return NOTHING_TOLD
    try:
        return msgspec.json.decode(details, type=Told)
    except msgspec.MsgspecError:
        return NOTHING_TOLD


def write_told(told: Told) -> bytes:
    """Return it as details of a heartbeat: what does not fit is cut off."""
    answer, problems = _cut(told.answer, ANSWER_BYTES_MAX), list[str]()
    left = PROBLEMS_BYTES_MAX
    for problem in told.problems:
        if left <= len(CUT):
            break
        problems.append(_cut(problem, left))
        left -= len(problems[-1].encode())
    content = msgspec.json.encode(msgspec.structs.replace(told, answer=answer, problems=tuple(problems)))
    if len(content) <= HEARTBEAT_BYTES_MAX:
        return content
    short = tuple(_cut(problem, PROBLEM_BYTES_MIN) for problem in problems[:1])  # much of it is written as \\u0000
    return msgspec.json.encode(msgspec.structs.replace(told, answer="", problems=short))


def with_repair(request: ModelRequest, told: Told) -> ModelRequest:
    """Return the request with the answer of the attempt before, and what was wrong with it; itself if nothing was."""
    if not told.problems:
        return request
    lines = "\n".join(f"- {problem}" for problem in told.problems)
    text = (
        f"Your last answer cannot be used:\n{lines}\nReturn only valid JSON, with this put right and nothing around it."
    )
    turns = [Message(role="user", content=text)]
    if told.answer:
        turns.insert(0, Message(role="assistant", content=told.answer))
    return msgspec.structs.replace(request, messages=(*request.messages, *turns))


def _cut(text: str, most: int) -> str:
    content = text.encode("utf-8", "replace")
    if len(content) <= most:
        return content.decode()
    return content[: max(0, most - len(CUT))].decode("utf-8", "ignore") + CUT
