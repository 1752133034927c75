"""Server-sent events: names, data and ids (HTML standard, section 9.2). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..step_error import StepError

EVENT_STREAM = "text/event-stream"
LINE_BYTES_MAX = 16 * 1024 * 1024
_LINE_END = re.compile(rb"\r\n|\n|\r")


class ServerEvent(NamedTuple):
    """``name``: nothing where the server says none. ``id``: the last one that it has said, nothing before."""

    name: str
    data: str
    id: str = ""


class EventReader:
    """Makes events of bytes as they come, however they are cut. One that its server has not ended is none."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._is_first = True
        self._name = ""
        self._id = ""
        self._data: list[str] = []
        self._data_chars = 0

    def feed(self, part: bytes) -> Iterator[ServerEvent]:
        """Yield the events that end in this part. Raises StepError for a line, or an event, without end."""
        self._buffer += part
        for line in self._lines():
            if line:
                self._take(line)
            elif self._data:
                yield ServerEvent(self._name, "\n".join(self._data), self._id)
                self._name, self._data, self._data_chars = "", [], 0
            else:
                self._name = ""

    def _lines(self) -> Iterator[str]:
        start = 0
        while (end := _LINE_END.search(self._buffer, max(start, self._searched))) is not None:
            if end.group() == b"\r" and end.end() == len(self._buffer):
                break  # its line feed may still come
            line = self._buffer[start : end.start()].decode("utf-8", "replace")
            yield line.removeprefix("\ufeff") if self._is_first else line
            self._is_first = False
            start = self._searched = end.end()
        del self._buffer[:start]
        self._searched = max(0, len(self._buffer) - 1)
        if len(self._buffer) > LINE_BYTES_MAX:
            raise StepError("PAYLOAD_TOO_LARGE", f"the answer has a line of more than {LINE_BYTES_MAX:,} bytes")

    def _take(self, line: str) -> None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
            self._data_chars += len(value) + 1
            if self._data_chars > LINE_BYTES_MAX:
                raise StepError(
                    "PAYLOAD_TOO_LARGE", f"the answer has an event of more than {LINE_BYTES_MAX:,} characters"
                )
        elif field == "event":
            self._name = value
        elif field == "id" and "\0" not in value:
            self._id = value
