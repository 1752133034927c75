"""What all tests share."""

from __future__ import annotations

import gc

import pytest
import structlog
from hypothesis import HealthCheck, settings

settings.register_profile("courante", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("courante")
"""How long an example takes, or takes to draw, is no finding: bounds of work are asserted where they are promised, by
counts.
"""


def pytest_collection_finish() -> None:
    """What was loaded until now stays: no collection has to walk through thousands of tests and their modules."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_log() -> None:
    """A command that a test has run in this process left its log where nobody can write any more."""
    structlog.reset_defaults()
