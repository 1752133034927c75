"""Calling scripts: as functions, by names with the hash of their text. One that is missing is loaded and called again.

Where a server has no functions, or does not allow them, the same text is called as a script, by its hash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakSet

import anyio
from hiredis import pack_command
from redis import Redis as BlockingRedis
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from .function_library import LIBRARIES_MAX, Library

Connection: TypeAlias = "Redis | RedisCluster"
Word: TypeAlias = str | bytes | int

DEADLINE_S = 30.0
"""Of one call over a connection of its own; clients with a pool have timeouts of theirs."""
_without_functions: WeakSet[object] = WeakSet()
"""Clients whose server takes none. Never shared between threads: each has clients of its own."""


class Script(NamedTuple):
    """``sha``: of ``source``, as the server knows a script. ``library``: the same as a function."""

    name: str
    source: bytes
    sha: str
    library: Library


async def run_script(redis: Connection, script: Script, keys: Sequence[str], words: Sequence[Word]) -> Any:
    """Call a script. Raises what the server answers: ResponseError and its kinds."""
    if redis not in _without_functions:
        try:
            return await _call_function(redis, script.library, keys, words)
        except ResponseError as error:
            if _is_without_functions(error):
                _without_functions.add(redis)
            elif not _is_missing(error):  # gone again since it was loaded: a script can be sent whole
                raise
    try:
        return await call(redis, "EVALSHA", script.sha, len(keys), *keys, *words)
    except NoScriptError:
        return await call(redis, "EVAL", script.source, len(keys), *keys, *words)


def run_script_blocking(redis: BlockingRedis, script: Script, keys: Sequence[str], words: Sequence[Word]) -> Any:
    """As ``run_script``, in a thread that may wait."""
    execute = redis.execute_command
    try:
        return execute("EVALSHA", script.sha, len(keys), *keys, *words)
    except NoScriptError:
        return execute("EVAL", script.source, len(keys), *keys, *words)


async def _call_function(redis: Connection, library: Library, keys: Sequence[str], words: Sequence[Word]) -> Any:
    try:
        return await call(redis, "FCALL", library.name, len(keys), *keys, *words)
    except ResponseError as error:
        if not _is_missing(error):
            raise
    await _load(redis, library)
    return await call(redis, "FCALL", library.name, len(keys), *keys, *words)


async def _load(redis: Connection, library: Library) -> None:
    """Load a library, and drop those of other versions where too many have gathered."""
    try:
        await redis.execute_command("FUNCTION LOAD", library.source)
    except ResponseError as error:
        if "already exists" not in str(error):  # somebody else was faster
            raise
    found = await redis.execute_command("FUNCTION LIST", "LIBRARYNAME", library.family + "*")
    # A list or maps, of a cluster one per node: as the protocol's version has it.
    others = set(re.findall(rf"{library.family}[0-9a-f]+", repr(found))) - {library.name}
    if len(others) > LIBRARIES_MAX:
        for name in others:
            with suppress(ResponseError):  # somebody else was faster
                await redis.execute_command("FUNCTION DELETE", name)


def _is_missing(error: ResponseError) -> bool:
    return "Function not found" in str(error)


def _is_without_functions(error: ResponseError) -> bool:
    return isinstance(error, NoPermissionError) or "unknown command" in str(error)


async def call(redis: Connection, *words: Word) -> Any:
    """Send one command; on a single server packed by hiredis.

    redis-py's asyncio connections pack in Python, at 0.7 microseconds a word; a call of 100 transitions has 2,000.
    A client of a single connection (``connect_alone``) must have one caller at a time; it saves the pool's locks and
    timers, which cost a lone hop as much as the call itself.
    """
    if not isinstance(redis, Redis):
        return await redis.execute_command(*words)
    if redis.single_connection_client:
        if redis.connection is None:
            await redis.initialize()
        assert redis.connection is not None
        with anyio.fail_after(DEADLINE_S):
            return await _exchange(redis.connection, words)
    pool = redis.connection_pool
    connection = await pool.get_connection()
    try:
        return await _exchange(connection, words)
    finally:
        await pool.release(connection)


async def _exchange(connection: AbstractConnection, words: tuple[Word, ...]) -> Any:
    """Send one command and read its answer. A connection that may still bring an answer is not used again."""
    try:
        await connection.send_packed_command(pack_command(words), check_health=False)
        return await connection.read_response()
    except ResponseError:
        raise
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
