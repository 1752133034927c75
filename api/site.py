"""The site: the web page and what it is made of, as files of the package. It asks the API as everybody does."""

from __future__ import annotations

from importlib.resources import files
from os import PathLike, stat_result
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.routing import Route as Way
from starlette.staticfiles import StaticFiles

from .security.headers import PAGE_POLICY

ROOT = Path(str(files("courante"))) / "api" / "web"
_HEADERS = {"content-security-policy": PAGE_POLICY, "cache-control": "no-cache"}


def site_ways() -> list[BaseRoute]:
    """Return the ways of the page: ``/``, and ``/web/...`` for its parts."""
    return [Way("/", _index), Mount("/web", _Parts(directory=ROOT))]


class _Parts(StaticFiles):
    """Each part is asked for again by its mark, so that nobody keeps the page of an older version."""

    def file_response(
        self,
        full_path: str | PathLike[str],
        stat_result: stat_result,
        scope: Any,
        status_code: int = 200,
    ) -> Response:
        found = super().file_response(full_path, stat_result, scope, status_code)
        found.headers.update(_HEADERS)
        return found


async def _index(_request: Request) -> Response:
    return FileResponse(ROOT / "index.html", headers=_HEADERS)
