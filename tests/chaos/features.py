"""Features that scenarios need and that are not there yet: each mark goes when its feature has come.

Such a scenario is not run: it would wait for its runs until its patience ends.
"""

from __future__ import annotations

import pytest

REBUILD = pytest.mark.xfail(
    run=False, strict=True, reason="a single run whose hash is gone is not yet missed and made again"
)
