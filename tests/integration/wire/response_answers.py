"""Answers in the wire format of OpenAI's responses, as its reference documents them."""

from __future__ import annotations

import json
from typing import Any

MODEL = "gpt-6.1-sol-2026-09-29"
USAGE = {
    "input_tokens": 19,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
    "output_tokens": 10,
    "output_tokens_details": {"reasoning_tokens": 6},
    "total_tokens": 29,
}
REASONING: dict[str, Any] = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "Z29uZQ=="}


def response(*output: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    head = {"id": "resp_1", "object": "response", "created_at": 1_741_569_952, "model": MODEL, "error": None}
    return {**head, "status": status, "incomplete_details": None, "output": list(output), "usage": USAGE, **fields}


def message(*texts: str, refusal: str = "") -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    parts += [{"type": "refusal", "refusal": refusal}] if refusal else []
    return {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": parts}


def call(id: str, name: str, arguments: str) -> dict[str, Any]:
    head = {"id": f"fc_{id}", "type": "function_call", "status": "completed"}
    return {**head, "call_id": id, "name": name, "arguments": arguments}


def event(type: str, **fields: Any) -> bytes:
    return f"event: {type}\ndata: {json.dumps({'type': type, 'sequence_number': 1, **fields})}\n\n".encode()


def stream(*pieces: str, calls: tuple[dict[str, Any], ...] = (), is_told_at_the_end: bool = True) -> bytes:
    """A whole stream: what has begun, the pieces, each item when it is done, and the end."""
    items = [REASONING, *([message("".join(pieces))] if pieces else []), *calls]
    parts = [event("response.created", response=response(status="in_progress", usage=None))]
    parts += [event("response.output_text.delta", item_id="msg_1", delta=piece) for piece in pieces]
    parts += [
        event("response.function_call_arguments.delta", item_id="fc_1", delta=each["arguments"]) for each in calls
    ]
    parts += [event("response.output_item.done", output_index=at, item=item) for at, item in enumerate(items)]
    last = response(*(items if is_told_at_the_end else ()))
    return b"".join([*parts, event("response.completed", response=last)])
