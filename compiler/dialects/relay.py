"""Relay's dialect: ``tasks:`` with ``depends_on``, ``prompt``, ``model`` and ``provider`` -> native.

A task without ``type`` is an ``llm`` node; prompt, model and provider are required only there. Parameters may stand
on the task, in its ``config``, or in the ``config`` of the workflow, the nearer one wins. The dialect is open: fields
that it does not know are left out with a warning. ``extends: <task id>`` takes over the fields of another task.
An id may begin with a digit there; it gets a ``_`` before it, in references and templates too.
"""

from __future__ import annotations

from ..diagnostics import Path
from ..findings import Findings, quote
from ..llm_config import ECHO, LLM_FIELDS, OWN_FIELDS
from ..node_fields import NODE_FIELDS
from ..reading import kind_of, missing_field, wrong_type
from ..workflow import Json
from .paths import dotted_to_cel, is_dotted, rewrite_templates
from .retry_policy import put_retry
from .translation import (
    Fields,
    Translation,
    as_fields,
    as_items,
    as_text,
    copy_metadata,
    ignore_unknown,
    move,
    origin_by,
    slug,
)

PROVIDERS = ("openai", "anthropic", ECHO)
_PARAMETERS = ("provider", "model", "system", "prompt", "temperature", "max_tokens", "json_output", "stream")
_NUMBERS = ("temperature", "max_tokens")
"""They mostly stand in ``config``, where the native reader finds what is wrong with them."""
_MODEL_FIELDS = frozenset({*_PARAMETERS, "retry_policy"})
_TASK_FIELDS = frozenset({*NODE_FIELDS, *_MODEL_FIELDS, "description", "extends"})
_ROOT_FIELDS = frozenset(
    {"id", "name", "description", "version", "tasks", "config", "input", "output", "policy", "changes"}
)
_NOT_INHERITED = frozenset({"id", "name", "depends_on", "extends"})
_PLACES: dict[Path, Path] = {
    **{("config", name): (name,) for name in _PARAMETERS if name not in _NUMBERS},
    ("config", "schema"): ("config", "json_output"),
    ("retry",): ("retry_policy",),
}


def translate_relay(value: Fields, findings: Findings) -> Translation:
    """Rewrite a Relay document. Faults that only the dialect can see go to ``findings``."""
    known = _ROOT_FIELDS | {"metadata"}
    ignore_unknown(value, (), findings, known, lenient=True)
    document: Fields = {"courante": 1, "id": value["id"] if "id" in value else slug(value.get("name"))}
    move(value, document, {name: name for name in ("name", "description", "input", "output", "policy", "changes")})
    copy_metadata(value, document, ("version",))
    if "name" not in value:
        missing_field("name", (), findings)
    if not isinstance(value["tasks"], list):
        wrong_type(findings, ("tasks",), "a list", value["tasks"])
    tasks = _Tasks(value, findings)
    if isinstance(document.get("changes"), dict):
        document["changes"] = {name: tasks.renamed(each) for name, each in as_fields(document["changes"]).items()}
    return Translation({**document, "nodes": tasks.nodes()}, origin_by("tasks", _PLACES, {}))


class _Tasks:
    def __init__(self, value: Fields, findings: Findings) -> None:
        self._findings = findings
        self._tasks = [as_fields(task) for task in as_items(value["tasks"])]
        self._raw = as_items(value["tasks"])
        self._by_id = {task["id"]: task for task in self._tasks if isinstance(task.get("id"), str)}
        self._renamed = {name: f"_{name}" for name in self._by_id if name[:1].isdigit()}
        shared = value.get("config", {})
        if not isinstance(shared, dict):
            wrong_type(findings, ("config",), "an object", shared)
        self._shared = as_fields(shared)
        ignore_unknown(self._shared, ("config",), findings, _MODEL_FIELDS, lenient=True)

    def renamed(self, ids: Json) -> Json:
        """One id, or a list of them, as the nodes are called."""
        if isinstance(ids, list):
            return [self.renamed(each) for each in as_items(ids)]
        return self._renamed.get(ids, ids) if isinstance(ids, str) else ids

    def nodes(self) -> list[Json]:
        return [
            self._node(self._whole(task, index), index) if isinstance(self._raw[index], dict) else self._raw[index]
            for index, task in enumerate(self._tasks)
        ]

    def _whole(self, task: Fields, index: int) -> Fields:
        """The task with the fields of those that it extends."""
        whole, seen = task, {as_text(task.get("id"))}
        while "extends" in whole:
            path = ("tasks", index, "extends")
            name = as_text(whole["extends"])
            parent = self._by_id.get(name)
            if parent is None or name in seen:
                told = (
                    "the task extends itself" if parent is not None else f"there is no task {quote(whole['extends'])}"
                )
                hint = "" if parent is not None else self._findings.suggest(name, self._by_id)
                self._findings.error("bad_extends", told, path, hint)
                return whole
            seen.add(name)
            inherited = {field: below for field, below in parent.items() if field not in _NOT_INHERITED}
            own = {field: below for field, below in whole.items() if field != "extends"}
            config = {**as_fields(inherited.get("config")), **as_fields(own.get("config"))}
            whole = {**inherited, **own, **({"config": config} if config else {})}
            if "extends" in parent:
                whole["extends"] = parent["extends"]
        return whole

    def _node(self, task: Fields, index: int) -> Fields:
        path: Path = ("tasks", index)
        ignore_unknown(task, path, self._findings, _TASK_FIELDS, lenient=True)
        node: Fields = {name: task[name] for name in NODE_FIELDS if name in task and name not in {"config", "metadata"}}
        copy_metadata(task, node, ("description",))
        if "id" in node:
            node["id"] = self._rename(node["id"], (*path, "id"))
        if "depends_on" in node:
            node["depends_on"] = [self._renamed.get(str(each), each) for each in as_items(node["depends_on"])]
        node.setdefault("type", "llm")
        if not isinstance(task.get("config", {}), dict):
            wrong_type(self._findings, (*path, "config"), "an object", task["config"])
        config = as_fields(task.get("config"))
        self._put_retry(node, task, config, path)
        config = {name: below for name, below in config.items() if name != "retry_policy"}
        if node["type"] == "llm":
            config = self._model_config(task, config, path)
        if config:
            node["config"] = rewrite_templates(config, self._path_to_cel)
        return node

    def _put_retry(self, node: Fields, task: Fields, config: Fields, path: Path) -> None:
        """The nearest policy counts; a native ``retry`` goes before all."""
        places = [(task, (*path, "retry_policy")), (config, (*path, "config", "retry_policy"))]
        for fields, place in [*places, (self._shared, ("config", "retry_policy"))]:
            policy = fields.get("retry_policy")
            if policy is not None and "retry" not in node:
                put_retry(node, policy, place, self._findings, is_own=fields is not self._shared, lenient=True)
                return

    def _rename(self, name: Json, path: Path) -> Json:
        if not isinstance(name, str) or name not in self._renamed:
            return name
        told = f"the id {quote(name)} begins with a digit and is called {quote(self._renamed[name])} here"
        self._findings.warning("renamed_id", told, path, "begin ids with a letter or _")
        return self._renamed[name]

    def _path_to_cel(self, source: str) -> str:
        steps = source.split(".")
        if is_dotted(source) and len(steps) > 1 and steps[1] in self._renamed:
            source = ".".join([steps[0], self._renamed[steps[1]], *steps[2:]])
        return dotted_to_cel(source)

    def _model_config(self, task: Fields, config: Fields, path: Path) -> Fields:
        """The config of an llm node. Fields of the config that nobody defined are the model's own settings."""
        on_task = {name: task[name] for name in _PARAMETERS if name in task}
        shared = {name: below for name, below in self._shared.items() if name in _PARAMETERS}
        merged = {**shared, **config, **on_task}
        made = {name: merged[name] for name in _PARAMETERS if name in merged and name != "json_output"}
        for name in ("prompt", "model", "provider"):
            if name not in made:
                missing_field(name, path, self._findings, "a task without a type is a call of a model")
            elif not isinstance(made[name], str):
                wrong_type(self._findings, (*path, name), "a string", made[name])
        if isinstance(made.get("provider"), str) and made["provider"] not in PROVIDERS:
            told = f"{quote(made['provider'])} is no provider of this dialect"
            self._findings.warning("unknown_provider", told, (*path, "provider"), "known: " + ", ".join(PROVIDERS))
        wanted = merged.get("json_output", False)
        if isinstance(wanted, dict) or wanted is True:
            made["schema"] = wanted
        elif wanted is not False:
            told = f"json_output must be true, false or a JSON Schema, not {kind_of(wanted)}"
            self._findings.error("wrong_type", told, (*path, "config", "json_output"))
        known = frozenset(config) - (OWN_FIELDS - {*LLM_FIELDS, *_PARAMETERS})
        ignore_unknown(config, (*path, "config"), self._findings, known, lenient=True)
        return {**made, **_further(config)}


def _further(config: Fields) -> Fields:
    """The fields of a config beyond the dialect's: native ones, and those that the body of the request has too."""
    beyond = {name: below for name, below in config.items() if name not in _PARAMETERS}
    native = {name: below for name, below in beyond.items() if name in LLM_FIELDS}
    extra = {name: below for name, below in beyond.items() if name not in LLM_FIELDS and name not in OWN_FIELDS}
    if extra and isinstance(native.get("extra", {}), dict):
        native["extra"] = {**extra, **as_fields(native.get("extra"))}
    return native
