"""Guesses: what the words of other workflow systems are called here. Only hints are made of them, never documents.

From the documents of Airflow, GitHub Actions, Prefect, Step Functions and Temporal. ``meant``: the field that is
written here in the place of the word, so that what it holds can be judged too; empty where something else is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Guess(NamedTuple):
    hint: str
    meant: str = ""


def _fields(words: str, hint: str, meant: str = "") -> dict[str, Guess]:
    return dict.fromkeys(words.split(), Guess(hint, meant))


_FUNCTION = "Python code is called by type: function and config: {handler: name}, with @step('name') at the function"
_BEFORE = "a node names those before it: depends_on: [a, b]"
_KEPT = "outputs are kept by themselves: others read steps.<id>.output"
_GIVEN = "write input: {field: expression}"
_MAP = "for each item: a node with type: map and config: {items: expression}, its body, and one with type: aggregate"

NODE_GUESSES: Mapping[str, Guess] = {
    **_fields("needs upstream dependencies depends after requires", _BEFORE, "depends_on"),
    **_fields("next Next then goto", f"{_BEFORE}; a choice is rules: [{{when: expression, next: [c]}}]"),
    **_fields("End", "a node that no other one depends on is an end: leave it out"),
    **_fields("retries", "write max_retries: 3, or retry: {max_attempts: 4}: it counts the first try", "max_retries"),
    **_fields("attempts maxAttempts max_attempts", "write retry: {max_attempts: 3}"),
    **_fields("retry_delay retry_delay_seconds backoff", "write retry: {base: 10s, factor: 2, max: 5m}"),
    **_fields("retryPolicy retry_policy Retry", "write retry: {max_attempts: 3, base: 1s, factor: 2, max: 60s}"),
    **_fields(
        "timeout-minutes timeout_seconds TimeoutSeconds execution_timeout startToCloseTimeout", "write timeout: 30s"
    ),
    **_fields("HeartbeatSeconds heartbeatTimeout", "write heartbeat_timeout: 30s"),
    **_fields("scheduleToStartTimeout", "write queue_timeout: 10m"),
    **_fields("taskQueue task_queue", "write queue: name", "queue"),
    **_fields("pool", "write concurrency: {key: \"'name'\", limit: 5}, or mutex: name for one at a time"),
    **_fields("run script command cmd shell bash_command image container", f"there is no shell; {_FUNCTION}"),
    **_fields("uses action operator Resource python_callable activity", _FUNCTION),
    **_fields("handler function", "write config: {handler: name}"),
    **_fields("with args kwargs op_kwargs params parameters arguments Parameters InputPath", _GIVEN),
    **_fields("env environment", f"a handler reads the environment of its worker; for values of the run {_GIVEN}"),
    **_fields("if condition only_if", "write when: expression", "when"),
    **_fields("foreach for_each forEach with_items matrix strategy Iterator ItemProcessor ItemsPath expand", _MAP),
    **_fields("parallel Branches", "nodes that do not depend on each other run at once by themselves: leave it out"),
    **_fields("Choices switch", "write rules: [{when: expression, next: [c]}] and default: [d]"),
    **_fields("Default else", "write default: [d] beside rules", "default"),
    **_fields("Catch on_failure catch", "write on_error: the node that runs when this one has failed"),
    **_fields(
        "continue-on-error ignore_errors",
        "write on_error: the node that goes on then, or policy: {on_failure: continue}",
    ),
    **_fields("trigger_rule", "write join: all, every, any or {at_least: 2}"),
    **_fields("outputs output ResultPath OutputPath ResultSelector register", _KEPT),
    **_fields("Type task_type kind", "write type: function, or another type", "type"),
    **_fields("task_id taskId", "write id: name", "id"),
    **_fields("cache_policy cache_key_fn cache_expiration", "write cache: {scope: global, ttl: 1d}"),
    **_fields("while until repeat", "write loop: {while: expression, back_to: id, max_iterations: 10}"),
    **_fields("manual approval approvers", "write requires_approval: true, or a node with type: approval"),
    **_fields(
        "url method headers prompt model provider items workflow tool value expression",
        "the fields of a type stand under config:",
    ),
}

ROOT_GUESSES: Mapping[str, Guess] = {
    **_fields("jobs steps tasks states States", "write nodes: [{id: a, type: ...}, ...]"),
    **_fields("StartAt start entry", "nodes without depends_on are the first: leave it out"),
    **_fields("on schedule cron triggers", "times stand outside of the document: see courante schedules --help"),
    **_fields("timeout TimeoutSeconds", "write policy: {timeout: 1h}"),
    **_fields("retry retries max_retries", "write defaults: {retry: {max_attempts: 3}}"),
    **_fields("default_args", "write defaults: {retry: ..., timeout: ...}", "defaults"),
    **_fields("max_parallel concurrency max_active_tasks", "write policy: {max_parallel: 10}"),
    **_fields("on_failure", "write policy: {on_failure: continue}"),
    **_fields("outputs result", "write output: expression", "output"),
    **_fields("inputs params parameters", "write input: the JSON Schema of what a run is given"),
    **_fields("env variables vars", "write input: the JSON Schema of what a run is given"),
    **_fields("version", "write courante: 1; versions of a workflow are counted as it is registered"),
    **_fields("Comment", "write description: text", "description"),
}

TYPE_GUESSES: Mapping[str, Guess] = {
    **_fields("Task task job activity lambda python PythonOperator code", _FUNCTION),
    **_fields("shell bash script BashOperator docker container command run", f"there is no shell; {_FUNCTION}"),
    **_fields("Choice choice switch branch if BranchPythonOperator", "write type: conditional"),
    **_fields("Pass pass dummy empty EmptyOperator start end Succeed", "write type: noop"),
    **_fields("Wait timer delay", "write type: wait"),
    **_fields("Fail fail error", "write type: function whose handler raises FatalError"),
    **_fields("Parallel parallel group", "nodes that do not depend on each other run at once by themselves"),
    **_fields("Map foreach for_each forEach matrix", _MAP, "map"),
    **_fields("loop while repeat", "write loop: {while: expression, back_to: id} at the last node of what is repeated"),
    **_fields("human manual gate", "write type: approval"),
    **_fields("event sensor", "write type: signal and config: {name: what is waited for}"),
    **_fields("request rest api webhook", "write type: http"),
    **_fields("workflow child child_workflow call", "write type: subflow and config: {workflow: id}"),
    **_fields("ai chat openai anthropic gpt", "write type: llm and config: {provider: x, model: y, prompt: z}"),
}

JOIN_GUESSES: Mapping[str, Guess] = {
    **_fields("all_success none_failed", "write every"),
    **_fields("one_success one_done first", "write any"),
    **_fields("all_done always", "write all"),
}
