"""Features that scenarios need and that are not there yet: each mark goes when its feature has come.

Such a scenario is not run: it would wait for its runs until its patience ends.
"""

from __future__ import annotations

import pytest

HAS_RECOVERY = False
RECOVERY = pytest.mark.xfail(
    not HAS_RECOVERY, run=False, strict=True, reason="what Redis has lost is not rebuilt from the log yet"
)
