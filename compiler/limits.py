"""Limits: how much one document may ask of whoever reads it. They hold before anything large is built."""

from __future__ import annotations

TEXT_BYTES_MAX = 8 * 1024 * 1024
"""Enough for 10,000 nodes and 50,000 edges, written generously."""
DEPTH_MAX = 64
"""Objects and lists inside each other."""
ALIAS_NODES_MAX = 10_000
"""Values that all YAML aliases of a document stand for, together."""
INT_MIN = -(2**63)
INT_MAX = 2**63 - 1
DURATION_MS_MAX = 10 * 365 * 86_400_000
"""Ten years."""
