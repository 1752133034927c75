"""Embedded servers: a real Redis and a real Postgres from wheels, shared by all commands of one home directory.

Source: how the parts fit and why no two keepers or servers ever meet is written in ``home.py``.
"""

from __future__ import annotations

from .errors import EmbeddedError
from .hold import Held, hold, shut_down, status
from .home import Servers

__all__ = ["EmbeddedError", "Held", "Servers", "hold", "shut_down", "status"]
