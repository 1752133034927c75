"""``echo``: returns its config's ``value``; without one, its input."""

from ...sdk.outcomes.outcomes import Outcome, Succeeded
from ...sdk.outcomes.step_config import render_config
from ...sdk.outcomes.step_context import encode_json
from ..work import Work


def run_echo(work: Work) -> Outcome:
    config = render_config(work)
    return Succeeded(encode_json(config["value"]) if "value" in config else work.input_bytes())
