"""``noop``: passes its input on."""

from ...sdk.outcomes.outcomes import Outcome, Succeeded
from ..work import Work


def run_noop(work: Work) -> Outcome:
    return Succeeded(work.input_bytes())
