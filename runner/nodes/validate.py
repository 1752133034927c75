"""``validate``: holds a value against a JSON Schema, and passes it on where it fits.

``value`` is CEL; without it the node's input is the value. With ``report`` the output says what is wrong.
"""

from ...compiler.cel import Expression
from ...sdk.outcomes.outcomes import Outcome, Succeeded
from ...sdk.outcomes.step_context import StepError, decode_json, encode_json
from ...sdk.schema_checks import SchemaChecks
from ..work import Work

SHOWN_MAX = 5
_CHECKS = SchemaChecks()


def run_validate(work: Work) -> Outcome:
    assert work.code is not None
    source, config = work.code.config.get("value"), work.node.config
    content = encode_json(work.evaluate(source)) if isinstance(source, Expression) else work.input_bytes()
    key = (work.plan.hash, work.number)
    problems = _CHECKS.problems(key, config["schema"], decode_json(content), "$")
    if config.get("report"):
        return Succeeded(encode_json({"valid": not problems, "problems": problems}))
    if problems:
        more = f" (and {len(problems) - SHOWN_MAX} more)" if len(problems) > SHOWN_MAX else ""
        raise StepError("VALUE_INVALID", "; ".join(problems[:SHOWN_MAX]) + more)
    return Succeeded(content)
