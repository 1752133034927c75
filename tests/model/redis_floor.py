"""A floor of one run on a real Redis, for simulations: each method is one script, called for what it is."""

from __future__ import annotations

import secrets
from asyncio import Runner
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from courante.sdk.floor.calling import Connection
from courante.sdk.floor.live_marking import read_marking
from courante.sdk.floor.repairs import close_partition, reopen_partition, restore_runs
from courante.sdk.floor.restoring import restore_calls
from courante.sdk.floor.scripts import (
    DONE_GROUP,
    apply_commands,
    claim_tokens,
    finish_runs,
    look_at_runs,
    release_timers,
    start_runs,
)
from courante.sdk.keys import Keys
from courante.sdk.migration.migration_calls import migrate_run
from model.hands import ALL, Found, Hands

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

    from courante.runner.transition import Transition
    from courante.sdk.events import RecordedEvent
    from courante.sdk.floor.calling import Word
    from courante.sdk.floor.restoring import RestoredRun
    from courante.sdk.floor.scripts import Applied
    from courante.sdk.marking.marking import Marking
    from courante.sdk.marking.plan import Plan

T = TypeVar("T")


@dataclass
class RedisFloor:
    """Satisfies ``Floor``. ``close`` lets go of everything that it has in Redis."""

    runner: Runner
    redis: Connection
    plan: Plan
    run_id: str = "run"
    hands: Hands = field(init=False)
    _found: dict[str, Found] = field(default_factory=dict[str, Found])
    _marking: Marking | None = None
    _now_ms: int = 0
    _epoch: int = 1

    def __post_init__(self) -> None:
        self.hands = Hands(self.redis, Keys(f"t{secrets.token_hex(6)}"))
        self._do(self.hands.open())

    def _do(self, call: Coroutine[Any, Any, T]) -> T:
        self._marking = None
        return self.runner.run(call)

    def start(self, words: Sequence[Word]) -> bool:
        return self._do(start_runs(self.redis, self.hands.at, [ALL, 0, "", *words])) == "A"

    def restore(self, restored: RestoredRun | None) -> None:
        """The server is emptied, and a recovery writes what the log says."""
        self._epoch += 1
        self._do(_forget(self.redis, self.hands))
        self._do(self._recover(restored))
        self._marking = None

    async def _recover(self, restored: RestoredRun | None) -> None:
        at, calls = self.hands.at, 0
        await close_partition(self.redis, at, self._epoch)
        for words in restore_calls([restored] if restored else []):
            calls = await restore_runs(self.redis, at, self._epoch, calls, words)
        await reopen_partition(self.redis, at, self._epoch, calls)
        self.hands.forget_outbox()
        await self.hands.open(self._epoch)

    def take(self, want: int) -> list[list[bytes]]:
        answer = self._do(self.hands.advance(want=want))
        self._now_ms = answer.now_ms
        for token in answer.tokens:
            fence = token[6].split(b"|")[0].decode()
            entry = f"{int(token[0])} {token[1].decode()}"
            self._found[entry] = Found(int(token[0]), token[1].decode(), self.run_id, token[3].decode(), fence)
            token[1] = entry.encode()
        return answer.tokens

    def look(self, fields: list[str]) -> list[bytes | None]:
        return self.runner.run(look_at_runs(self.redis, self.hands.at, [(self.run_id, " ".join(fields))]))[0].values

    def let_go(self, fields: list[str]) -> None:
        if fields:
            self._do(self.redis.execute_command("HDEL", self.hands.at.run(self.run_id), *fields))

    def reopen(self, entry: str) -> list[bytes] | None:
        answer = self._do(self.hands.advance(opened=[self._found[entry]]))
        if not answer.tokens:
            return None
        (token,) = answer.tokens
        token[1] = entry.encode()
        return token

    def claim(self, entry: str) -> None:
        """Of all that is pending, take over this one: whatever its idle time."""
        found = self._found[entry]
        stream = self.hands.streams[found.number - 1].rpartition("q:")[2]
        claims = claim_tokens(self.redis, self.hands.at, lease_ms=0, limit=1, start=[stream, found.entry])
        pending = self._do(
            self.redis.xpending_range(
                self.hands.streams[found.number - 1], "workers", found.entry, found.entry, count=1
            )
        )
        if pending:
            self._do(claims)
        else:
            claims.close()

    def hand_in(self, transition: Transition) -> str:
        words = list(transition.words)
        if words[4]:
            words[3:5] = self._found[str(words[4])][:2]
        return self._do(self.hands.advance([transition._replace(words=words)])).verdicts

    def command(self, command: Applied) -> str:
        return self._do(apply_commands(self.redis, self.hands.at, [command]))

    def migrate(self, words: Sequence[Word], plan: Plan) -> str:
        said = [words[0], self._epoch, *words[2:]]
        verdict = self._do(migrate_run(self.redis, self.hands.at, said)).verdict
        if verdict == "A" and words[6]:
            self.plan = plan
        return verdict

    def due(self) -> list[str]:
        members = self._do(self.redis.execute_command("ZRANGE", self.hands.at.timers, 0, -1))
        return [member.decode().partition("|")[2] for member in members]

    def ring(self, name: str) -> bool:
        member = f"{self.run_id}|{name}"
        self._do(self.redis.execute_command("ZADD", self.hands.at.timers, "XX", 1, member))
        return self._do(release_timers(self.redis, self.hands.at, 1))[0] == 1

    def finish(self, kind: str, blob: bytes, output: bytes) -> bool:
        done = self._do(self.redis.execute_command("XRANGE", self.hands.at.done, "-", "+"))
        entry = done[0][0] if done else ""
        words = [DONE_GROUP, self.run_id, entry, output, kind, 1, blob]
        return self._do(finish_runs(self.redis, self.hands.at, words)) == "A"

    def events(self) -> list[RecordedEvent]:
        return self._do(self.hands.events(self.plan.node_ids, self.run_id))

    def marking(self) -> Marking:
        if self._marking is None:
            found = self._do(read_marking(self.redis, self.hands.at, self.run_id))
            assert found is not None
            self._marking = found
        return self._marking

    def now_ms(self) -> int:
        """At the last call that handed something out."""
        return self._now_ms

    def zeros(self) -> int:
        """How often a run was said to be done: by now each word of it has been read and is gone."""
        return int(self._do(self.redis.execute_command("XINFO", "STREAM", self.hands.at.done))[b"entries-added"])

    def close(self) -> None:
        self._do(_forget(self.redis, self.hands))


async def _forget(redis: Connection, hands: Hands) -> None:
    found = [key async for key in redis.scan_iter(match=f"{hands.keys.prefix}*", count=1_000)]
    await redis.unlink(*found)
