"""redis-py as this project uses it: clients that give bytes, never str. All but the one for threads are asyncio's.

redis-py types every reply as bytes or str, because ``decode_responses`` decides while the program runs; ours never
set it. Only what we call is here; ``tests/style`` holds each name and argument against the installed package.
"""

from typing import Any, Self

from .retry import Retry

class Redis:
    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        retry: Retry | None = None,
        socket_timeout: float | None = None,
        socket_connect_timeout: float | None = None,
    ) -> Self: ...
    def execute_command(self, *args: bytes | str | int | float, **options: Any) -> Any: ...
    def close(self) -> None: ...
