"""Submissions: what a caller asks to start, checked at the door and resolved into a start command. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import IdempotencyConflict, InputInvalid
from ..ids import new_run_id
from ..json_values import NotJson, encode_value
from ..sealing.payload_terms import PAYLOAD_BYTES_MAX
from ..stores.commands import StartCommand, run_id_of_key

if TYPE_CHECKING:
    from ..marking.plan import Plan
    from .catalog import Resolved

TEXT_CHARS_MAX = 512
TAGS_MAX = 64
VERSION_MAX = 2**31 - 1


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One run to start. ``key``: the same key is the same run. ``tags``: words to find it by.

    ``content``: the input as ``encode_input`` gives it, where that was done already; ``input`` then counts for nothing.
    ``start_at``: not before; ``expires_at``: not started after it. ``trigger``: why it is started, a word of ours.
    ``partition``: where it is to live, that of its parent; None where its id says so.
    """

    workflow: str
    input: Any = None
    content: bytes | None = None
    version: int | None = None
    key: str | None = None
    by: str | None = None
    tags: tuple[str, ...] = ()
    start_at: datetime | None = None
    expires_at: datetime | None = None
    traceparent: str | None = None
    trigger: str = "initial"
    partition: int | None = None


def check_texts(submission: Submission) -> None:
    """Raise InputInvalid, naming the field, for what neither Postgres nor a key of Redis can hold."""
    texts = {
        "workflow": submission.workflow,
        "key": submission.key,
        "by": submission.by,
        "traceparent": submission.traceparent,
    }
    for name, text in texts.items():
        if text is not None or name == "workflow":
            _check_text(name, text)
    if not submission.workflow:
        raise InputInvalid("workflow: it is empty")
    if submission.key is not None and not submission.key:
        raise InputInvalid("key: it is empty; leave it out for a run of its own")
    if len(submission.tags) > TAGS_MAX:
        raise InputInvalid(f"tags: {len(submission.tags)} of them; at most {TAGS_MAX} are allowed")
    for tag in submission.tags:
        _check_text("tags", tag)
    if submission.version is not None and not _is_version(submission.version):
        raise InputInvalid(f"version: {submission.version!r:.40} is no version number")


def start_command(env: str, partitions: int, submission: Submission, resolved: Resolved) -> StartCommand:
    """Return the start of a run that ``check_texts`` has passed. Raises InputInvalid."""
    content = encode_input(submission.input) if submission.content is None else submission.content
    run_id = new_run_id() if submission.key is None else run_id_of_key(env, submission.key)
    return StartCommand(
        env=env,
        run_id=run_id,
        partition=partition_of(run_id, partitions, resolved.plan, submission.partition),
        workflow=submission.workflow,
        version=resolved.version,
        ir_hash=resolved.plan.hash,
        input=content,
        asked_version=submission.version,
        idempotency_key=submission.key,
        by=submission.by,
        tags=submission.tags,
        trigger=submission.trigger,
        start_at=to_utc("start_at", submission.start_at),
        expires_at=to_utc("expires_at", submission.expires_at),
        traceparent=submission.traceparent,
    )


def encode_input(value: Any, name: str = "input") -> bytes:
    """Return canonical JSON. name: what it is, for people. Raises InputInvalid."""
    try:
        content = encode_value(value, is_sorted=True)
    except NotJson as error:
        raise input_fault(error, name) from error
    if len(content) > PAYLOAD_BYTES_MAX:
        raise InputInvalid(f"{name}: it has {len(content):,} bytes; at most {PAYLOAD_BYTES_MAX:,} are allowed")
    return content


def input_fault(error: NotJson, name: str = "input") -> InputInvalid:
    """The same fault, with its place below ``input``."""
    told = f"{name}{error.place}: {error.problem}"
    return InputInvalid(told, [told])


def partition_of(run_id: str, partitions: int, plan: Plan, wanted: int | None = None) -> int:
    """Where a new run goes, if it may go where it is wanted. It carries its partition from then on."""
    if partitions == 1 or plan.is_at_home:
        return 0
    return sum(run_id.encode()) % partitions if wanted is None else wanted


def conflict(command: StartCommand) -> IdempotencyConflict:
    return IdempotencyConflict(
        f"the key {command.idempotency_key!r} belongs to another request (run {command.run_id})",
        hint="use a new key for a new request",
    )


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise InputInvalid(f"{name}: wanted text, not a value of type {type(text).__name__}")
    if len(text) > TEXT_CHARS_MAX:
        raise InputInvalid(f"{name}: it has {len(text):,} characters; at most {TEXT_CHARS_MAX} are allowed")
    if "\x00" in text:
        raise InputInvalid(f"{name}: it holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputInvalid(f"{name}: it holds half of a surrogate pair at character {error.start}") from error


def _is_version(version: object) -> bool:
    return isinstance(version, int) and not isinstance(version, bool) and 1 <= version <= VERSION_MAX


def to_utc(name: str, at: datetime | None) -> datetime | None:
    """A time without an offset is the caller's local time, as everywhere in Python."""
    try:
        return None if at is None else at.astimezone(UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise InputInvalid(f"{name}: {at} cannot be said in UTC") from error
