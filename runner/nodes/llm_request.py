"""From the config of a node that calls a model to the request. Pure; values of the run never choose a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from ...compiler.llm_config import ROLES, TEMPERATURE_MAX, TOKENS_MAX
from ...sdk.outcomes.step_config import render_template
from ...sdk.outcomes.step_context import StepContext, StepError, decode_json
from ..models.defaults import defaults_of
from ..models.request import FILE_TOKENS, Message, ModelRequest, text_of
from ..models.router import provider_of
from ..models.terms import ModelTerms

_encode = msgspec.json.Encoder().encode
SYSTEM = ROLES[0]


def make_request(step: StepContext, terms: ModelTerms) -> ModelRequest:
    """Return what is to be asked: every template is filled, or this raises StepError."""
    config = _rendered(step)
    model = _text(config.get("model", ""), "model")
    provider = terms.provider or provider_of(model, _text(config.get("provider", ""), "provider"))
    defaults = defaults_of(provider, model)
    system, messages = _turns(config, step)
    schema = config.get("schema", False)
    top_p = _number(config.get("top_p"), "top_p", 1)
    temperature = defaults.temperature if top_p is None else None
    return ModelRequest(
        provider=provider,
        model=model,
        system=system,
        messages=messages,
        prompt_turns=len(messages),
        temperature=_number(config.get("temperature", temperature), "temperature", TEMPERATURE_MAX),
        max_tokens=_tokens(config.get("max_tokens", defaults.max_tokens), "max_tokens"),
        max_file_tokens=_tokens(config.get("max_file_tokens"), "max_file_tokens") or FILE_TOKENS,
        top_p=top_p,
        stop=tuple(_text(each, "stop") for each in config.get("stop", ())),
        wants_json=schema is not False,
        schema=cast("dict[str, Any]", schema) if isinstance(schema, dict) else None,
        stream=bool(config.get("stream", False)),
        extra=dict(config.get("extra", {})),
        base_url=_text(config.get("base_url", ""), "base_url"),
        api_key_secret=str(step.node.config.get("api_key_secret", "")),
        echo=config.get("echo"),
    )


def _rendered(step: StepContext) -> dict[str, Any]:
    apart = {name: step.node.config[name] for name in ("schema",) if name in step.node.config}
    return {**render_template(step), **apart}


def _turns(config: Mapping[str, Any], step: StepContext) -> tuple[str, tuple[Message, ...]]:
    """Return the system prompt and the messages, of which there is at least one."""
    systems = [_written(config["system"])] if "system" in config else []
    messages: list[Message] = []
    turns = config.get("messages", ())
    for turn in cast("list[Any]", turns) if isinstance(turns, list) else _no_turns(turns):
        role, content = _turn(turn)
        if role == SYSTEM:
            systems.append(text_of(content))
        else:
            messages.append(Message(role=cast("Any", role), content=content))
    if "prompt" in config:
        messages.append(Message(role="user", content=_written(config["prompt"])))
    elif "messages" not in config:
        messages.append(Message(role="user", content=_written(decode_json(step.input_bytes()))))
    if not messages:
        raise StepError("INPUT_INVALID", "there is no message for the model: say a prompt, or messages")
    return "\n\n".join(systems), tuple(messages)


def _no_turns(turns: object) -> tuple[()]:
    if turns != ():
        raise StepError("INPUT_INVALID", f"messages are a list, not {type(turns).__name__}")
    return ()


def _turn(turn: object) -> tuple[str, str | list[dict[str, Any]]]:
    """Return role and content of what a template may have given."""
    fields = cast("dict[str, Any]", turn) if isinstance(turn, dict) else {}
    role, content = fields.get("role"), fields.get("content")
    if role not in ROLES or content is None:
        raise StepError("INPUT_INVALID", f"a message has a role ({', '.join(ROLES)}) and a content")
    if isinstance(content, list) and all(isinstance(part, dict) for part in cast("list[object]", content)):
        return str(role), cast("list[dict[str, Any]]", content)
    return str(role), _written(cast("object", content))


def _written(value: object) -> str:
    """A text as it is, any other value as compact JSON."""
    return value if isinstance(value, str) else _encode(value).decode()


def _text(value: object, name: str) -> str:
    if isinstance(value, str):
        return value
    raise StepError("CONFIG_INVALID", f"{name} is a text, not {type(value).__name__}")


def _number(value: object, name: str, most: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise StepError("CONFIG_INVALID", f"{name} is a number from 0 to {most}, not {value!r:.100}")
    return value


def _tokens(value: object, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= TOKENS_MAX:
        raise StepError("CONFIG_INVALID", f"{name} is a whole number from 1 to {TOKENS_MAX:,}, not {value!r:.100}")
    return value
