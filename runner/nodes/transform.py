"""``transform``: shapes data by CEL: ``expression`` for the whole output, or ``mapping`` for an object's fields."""

from ...sdk.outcomes.outcomes import Outcome, Succeeded
from ...sdk.outcomes.step_context import encode_json
from ..work import Work


def run_transform(work: Work) -> Outcome:
    assert work.code is not None
    config = work.code.config
    if "expression" in config and not isinstance(config["expression"], dict):
        return Succeeded(encode_json(work.evaluate(config["expression"])))
    mapping = config.get("mapping")
    if isinstance(mapping, dict):
        return Succeeded(encode_json({name: work.evaluate(source) for name, source in mapping.items()}))
    return Succeeded(work.input_bytes())
