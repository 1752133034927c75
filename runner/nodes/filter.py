"""``filter``: keeps the items of a list for which ``where`` holds (CEL over ``item`` and ``index``).

``items`` is CEL; without it the node's input is the list.
"""

from typing import cast

from ...compiler.reading import kind_of
from ...sdk.outcomes.outcomes import Outcome, Succeeded
from ...sdk.outcomes.step_context import StepError, decode_json, encode_json
from ..work import Work


def run_filter(work: Work) -> Outcome:
    assert work.code is not None
    source, where = work.code.config.get("items"), work.code.config.get("where")
    if isinstance(source, dict) or where is None or isinstance(where, dict):
        raise StepError("CONFIG_INVALID", "a filter has 'where', one expression, and may have 'items', another")
    items = decode_json(work.input_bytes()) if source is None else work.evaluate(source)
    if not isinstance(items, list):
        raise StepError("INPUT_INVALID", f"a filter reads a list, not {kind_of(items)}")
    context = work.context()
    kept: list[object] = []
    for index, item in enumerate(cast("list[object]", items)):
        context["item"], context["index"] = item, index
        verdict = work.evaluate(where)
        if not isinstance(verdict, bool):
            raise StepError("EXPRESSION_ERROR", f"'where' gives true or false, not {kind_of(verdict)}")
        if verdict:
            kept.append(item)
    return Succeeded(encode_json(kept))
