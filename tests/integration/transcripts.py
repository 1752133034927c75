"""What the next worker would find of an agent."""

from __future__ import annotations

import json

from integration.stage import Stage


async def turns_kept(stage: Stage, run_id: str) -> int:
    """How many turns of the only agent of a run are where the next worker looks for them."""
    keys = stage.client.keys
    fields = await stage.redis.hgetall(keys.partition(0).run(run_id))
    details = next((value for name, value in fields.items() if name.startswith(b"d")), None)
    if details is None:
        return 0
    content = await stage.redis.get(keys.blob(json.loads(details)["transcript"]))
    return 0 if content is None else int(json.loads(content)["turns"])
