"""The memory allocator of the bundled Valkey: mimalloc, preloaded, from a wheel.

The bundled Valkey was built with the C library's allocator. A script makes and frees hundreds of small strings; with
glibc's they lie so far apart that the server waits for memory a third of its time. See docs/decisions/allocator.md.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from .binaries import Binary

_PACKAGE = "cmeel-mimalloc"
_NAME = "libmimalloc.so"
_SEPARATORS = " :"
"""Of LD_PRELOAD, which knows no quotes. Source: ld.so(8)."""
_WITHOUT_HUGE_PAGES = {"MIMALLOC_ALLOW_THP": "0"}
"""The system clears all 2 MB of a huge page when it is touched first, in the middle of the call that does so: 5 ms on a
virtual machine. See docs/decisions/allocator.md. Source: mimalloc, environment options.
"""


def preload(server: Binary) -> dict[str, str]:
    """Return what the server's environment needs so that it takes mimalloc; nothing where there is none for it.

    Only for the one of the wheel, on Linux: any other was built with an allocator that somebody chose.
    """
    library = _find_library() if server.is_bundled and sys.platform.startswith("linux") else None
    return {} if library is None else {"LD_PRELOAD": str(library), **_WITHOUT_HUGE_PAGES}


def _find_library() -> Path | None:
    try:
        names = files(_PACKAGE) or ()
    except PackageNotFoundError:
        return None
    found = (Path(str(name.locate())) for name in names if name.name == _NAME)
    return next((path for path in found if path.exists() and not set(_SEPARATORS) & set(str(path))), None)
