"""The config of nodes of type ``llm``: one reader per field.

What holds a template is only checked to be a text: what it gives is judged when the node runs (docs/reference/llm.md).
"""

from __future__ import annotations

from typing import Any, cast

from .diagnostics import Path
from .findings import Findings, quote
from .http_config import is_template
from .json_schema import read_json_schema
from .model_names import said_in_chat_only, speaks_responses
from .reading import (
    read_boolean,
    read_choice,
    read_fields,
    read_integer,
    read_list,
    read_number,
    read_object,
    read_pattern,
    read_text,
    wrong_type,
)
from .workflow import Json

ECHO = "echo"
PROVIDERS = ("openai", "anthropic", ECHO)
ROLES = ("system", "user", "assistant")
TEMPERATURE_MAX = 2
TOKENS_MAX = 10_000_000
STOPS_MAX = 16
SECRET_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"  # noqa: S105 - of the names of secrets
OWN_FIELDS = frozenset({"model", "messages", "stream", "stream_options", "system", "tools"})
"""Of a request body: those that ``extra`` cannot say in another way."""
KEY_FIELDS = frozenset({"api_key", "apikey", "apiKey", "api-key", "x-api-key", "authorization", "Authorization"})
"""What a key may be called. It is never a document's: that is stored, and shown."""


def read_llm(config: dict[str, Json], path: Path, findings: Findings) -> dict[str, Any]:
    """Read a config. Without ``prompt`` and ``messages`` the node's input is the prompt."""
    return read_fields(config, path, findings, LLM_READERS)


def needs_model(config: dict[str, Json]) -> bool:
    """Whether a config names no model, though its provider has several. Told by the analysis: no call could be made."""
    return "model" not in config and config.get("provider") != ECHO


def has_unknown_provider(config: dict[str, Json]) -> bool:
    """Whether a config names a provider that there is not. Told by the analysis, too."""
    provider = config.get("provider", PROVIDERS[0])
    return not is_template(provider) and provider not in PROVIDERS


def chat_only_fields(config: dict[str, Json], *, has_tools: bool) -> list[tuple[str, ...]]:
    """Return the places of fields that the API cannot be told by which OpenAI's model is asked. Told by the analysis.

    A model or provider that a template gives is judged when it is called.
    """
    model, provider = config.get("model"), config.get("provider", PROVIDERS[0])
    if not isinstance(model, str) or is_template(model) or provider != PROVIDERS[0]:
        return []
    if not speaks_responses(model, has_tools=has_tools):
        return []
    extra = config.get("extra")
    in_extra = said_in_chat_only(cast("dict[str, Json]", extra)) if isinstance(extra, dict) else []
    return [
        *((name,) for name in said_in_chat_only({"stop": config.get("stop")})),
        *(("extra", name) for name in in_extra),
    ]


def _name(value: Json, path: Path, findings: Findings) -> str:
    text = read_text(value, path, findings)
    if isinstance(value, str) and not text.strip():
        findings.error("missing_field", f"{path[-1]} is empty", path)
    return text


def _messages(value: Json, path: Path, findings: Findings) -> Json:
    """Turns of a conversation; all of them may be one template."""
    if is_template(value):
        return value
    turns = read_list(value, path, findings)
    return [cast("Json", read_fields(turn, (*path, i), findings, _TURN, _TURN)) for i, turn in enumerate(turns)]


def _role(value: Json, path: Path, findings: Findings) -> str:
    return read_choice(value, path, findings, ROLES, ROLES[1])


def _content(value: Json, path: Path, findings: Findings) -> Json:
    """Text, or parts in the wire format of the provider."""
    for index, part in enumerate(cast("list[Json]", value) if isinstance(value, list) else []):
        read_object(part, (*path, index), findings)
    if not isinstance(value, str | list):
        wrong_type(findings, path, "a string or a list of parts", value)
    return cast("Json", value)


def _schema(value: Json, path: Path, findings: Findings) -> Json:
    """True: any JSON. False: text."""
    return value if isinstance(value, bool) else read_json_schema(value, path, findings)


def _temperature(value: Json, path: Path, findings: Findings) -> Json:
    if value is None or is_template(value):
        return value
    read_number(value, path, findings, low=0, high=TEMPERATURE_MAX)
    return value


def _top_p(value: Json, path: Path, findings: Findings) -> Json:
    if not is_template(value):
        read_number(value, path, findings, low=0, high=1)
    return value


def _max_tokens(value: Json, path: Path, findings: Findings) -> Json:
    if value is None or is_template(value):
        return value
    return read_integer(value, path, findings, low=1, high=TOKENS_MAX)


def _max_file_tokens(value: Json, path: Path, findings: Findings) -> Json:
    return value if is_template(value) else read_integer(value, path, findings, low=1, high=TOKENS_MAX)


def _stop(value: Json, path: Path, findings: Findings) -> Json:
    """Texts at which the answer ends; one is a list of one."""
    texts = cast("list[Json]", value) if isinstance(value, list) else [value]
    for index, each in enumerate(texts):
        place = (*path, index) if isinstance(value, list) else path
        if isinstance(each, str) and not each:
            findings.error("missing_field", "an empty text ends every answer at once", place)
        read_text(each, place, findings)
    if len(texts) > STOPS_MAX:
        findings.error("out_of_range", f"stop holds {len(texts)} texts, at most {STOPS_MAX}", path)
    return list(texts)


def _extra(value: Json, path: Path, findings: Findings) -> dict[str, Json]:
    fields = read_object(value, path, findings)
    for name in sorted(OWN_FIELDS & fields.keys()):
        hint = f"write {name!r} beside 'extra'" if name in LLM_READERS else "leave it out"
        findings.error("bad_name", f"{quote(name)} of a request is made from the config", (*path, name), hint)
    for name in sorted(KEY_FIELDS & fields.keys()):
        hint = "the worker has it, as a variable or a file; another one is named by 'api_key_secret'"
        findings.error("bad_name", f"{quote(name)} is a key, and keys stand in no document", (*path, name), hint)
    return fields


def _secret(value: Json, path: Path, findings: Findings) -> str:
    return read_pattern(value, path, findings, SECRET_PATTERN, "bad_name")


def _url(value: Json, path: Path, findings: Findings) -> str:
    text = read_text(value, path, findings)
    if isinstance(value, str) and not is_template(text) and not text.lower().startswith(("https://", "http://")):
        findings.error("bad_url", f"base_url can not be {quote(text)}", path, "a URL begins with https:// or http://")
    return text


def _anything(value: Json, _path: Path, _findings: Findings) -> Json:
    return value


_TURN = {"role": _role, "content": _content}
LLM_READERS = {
    "provider": read_text,
    "model": _name,
    "system": read_text,
    "prompt": read_text,
    "messages": _messages,
    "schema": _schema,
    "temperature": _temperature,
    "max_tokens": _max_tokens,
    "max_file_tokens": _max_file_tokens,
    "top_p": _top_p,
    "stop": _stop,
    "stream": read_boolean,
    "base_url": _url,
    "api_key_secret": _secret,
    "extra": _extra,
    "echo": _anything,
}
LLM_FIELDS = tuple(LLM_READERS)
