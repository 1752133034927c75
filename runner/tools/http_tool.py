"""A tool that a service offers over HTTP: declared by the operator, called like nodes of type ``http``.

The arguments stand where the declaration's templates put them. Without any, they are the query of a GET, HEAD, DELETE
or OPTIONS, else the JSON body; those that the URL names are left out there. The result is the body of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import anyio

from ...compiler.cel import SECRET_ROOT, EvaluationError
from ...compiler.http_config import BODIES
from ...compiler.templates import compile_template, compile_value
from ...sdk.authoring.context import Context
from ...sdk.authoring.declared_tools import ROOTS, DeclaredHttpTool
from ...sdk.outcomes.step_context import StepError, encode_json
from ...sdk.schema_checks import SchemaChecks
from ...sdk.secrets.secrets import NamedSecrets, Secrets
from .offer import CALL_S, ToolOffer, read_arguments

if TYPE_CHECKING:
    from ..http.calling import HttpTools

QUERIED = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_checks = SchemaChecks()


class HttpTool:
    """One declared call. ``lent``: what the worker lends for it."""

    def __init__(self, declared: DeclaredHttpTool, lent: HttpTools, secrets: Secrets) -> None:
        self._declared = declared
        self._lent = lent
        self._secrets = secrets
        config = {name: value for name, value in declared.config.items() if name != "url"}
        self._template = compile_value(config, roots=ROOTS)
        self._url = str(declared.config["url"])
        self._in_url = _named_in(self._url)

    @property
    def name(self) -> str:
        return self._declared.name

    async def offer(self) -> ToolOffer:
        declared = self._declared
        return ToolOffer(name=declared.name, description=declared.description, schema=dict(declared.schema))

    async def call(self, arguments: bytes, context: Context, limit_s: float | None = CALL_S) -> bytes:
        from ..http.calling import Wanted, send_call
        from ..http.request import call_of, fill_url

        declared = self._declared
        given = read_arguments(arguments)
        problems = _checks.problems(("http", declared.name), dict(declared.schema), given, "arguments")
        if problems:
            raise StepError("INPUT_INVALID", f"{'; '.join(problems)}, in the arguments of {declared.name!r}")
        secrets = NamedSecrets(self._secrets)
        roots = {"arguments": given, SECRET_ROOT: secrets}
        try:
            config = cast("dict[str, Any]", self._template.render(roots))
        except EvaluationError as error:
            raise StepError("EXPRESSION_ERROR", str(error)) from error
        url = fill_url(self._url, roots, ROOTS)
        call = call_of(self._placed(config, given), url, context.idempotency_key, secrets)
        with anyio.fail_after(limit_s):
            answer = await send_call(call, Wanted.of(declared.config), self._lent)
        return encode_json(answer["body"])

    def _placed(self, config: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Put the arguments where the declaration says nothing of them."""
        if not {"query", *BODIES}.isdisjoint(config):
            return config
        rest = {name: value for name, value in given.items() if name not in self._in_url}
        if str(config.get("method", "GET")).upper() in QUERIED:
            return config | {"query": {name: _queried(value) for name, value in rest.items()}}
        return config | {"json": rest}


def _named_in(url: str) -> frozenset[str]:
    references = compile_template(url, roots=ROOTS).references
    return frozenset(each.path[1] for each in references if len(each.path) > 1 and each.path[0] == "arguments")


def _queried(value: Any) -> Any:
    """An object, and a list in a list, as JSON: a query has no other way to say them."""
    if isinstance(value, list):
        return [_queried(each) if isinstance(each, dict) else _flat(each) for each in cast("list[Any]", value)]
    return encode_json(cast("Any", value)).decode() if isinstance(value, dict) else value


def _flat(value: Any) -> Any:
    return encode_json(cast("Any", value)).decode() if isinstance(value, list) else value
