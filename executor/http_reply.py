"""HTTP/1.1 replies out of arbitrary chunks: pure, bounded, strict about lengths because they delimit money answers."""

from __future__ import annotations

import email.utils

import msgspec

from core.clock import NS_PER_S
from core.errors import Malformed

MAX_HEAD_BYTES = 64 * 1024
MAX_REPLY_BYTES = 16 * 1024 * 1024
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_BODILESS = frozenset({204, 304})


class HttpReply(msgspec.Struct, frozen=True):
    """Header names in lower case; of repeated ones the last counts, but cookies are all there, a line each."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def keep_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"

    @property
    def date_ns(self) -> int:
        """The Date header as UTC ns, whole seconds; 0 when absent or unreadable."""
        try:
            return int(email.utils.parsedate_to_datetime(self.headers["date"]).timestamp()) * NS_PER_S
        except (KeyError, ValueError, TypeError):
            return 0


class ReplyParser:
    """Feed chunks until a reply comes out; then it is ready for the next reply."""

    __slots__ = ("_buffer", "_headers", "_status")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._status = 0  # 0 = the head has not been read yet
        self._headers: dict[str, str] = {}

    @property
    def is_empty(self) -> bool:
        """No byte of a further reply is buffered."""
        return not self._buffer and not self._status

    def feed(self, data: bytes) -> HttpReply | None:
        """The reply once it is complete. Raises Malformed; the connection is then unusable."""
        self._buffer += data
        if len(self._buffer) > MAX_REPLY_BYTES:
            raise Malformed(f"HTTP reply exceeds {MAX_REPLY_BYTES} bytes")
        while not self._status:  # one turn per interim (1xx) head
            if not self._take_head():
                return None
        return self._take_body()

    def finish(self) -> HttpReply | None:
        """The connection ended: a reply delimited by that, else None."""
        if not self._status or not self._until_close:
            return None
        return self._complete(bytes(self._buffer), len(self._buffer))

    @property
    def _until_close(self) -> bool:
        return "content-length" not in self._headers and not self._chunked and self._status not in _BODILESS

    @property
    def _chunked(self) -> bool:
        return self._headers.get("transfer-encoding", "").lower() == "chunked"

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise Malformed(f"HTTP head exceeds {MAX_HEAD_BYTES} bytes")
            return False
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        version, _, rest = lines[0].partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit()):
            raise Malformed(f"not an HTTP/1.1 status line: {lines[0][:60]!r}")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise Malformed(f"HTTP header without colon: {line[:60]!r}")
            key, text = name.strip().lower(), value.strip()
            headers[key] = f"{headers[key]}\n{text}" if key == "set-cookie" and key in headers else text
        if 100 <= int(code) < 200:
            return True
        self._status, self._headers = int(code), headers
        return True

    def _take_body(self) -> HttpReply | None:
        if self._status in _BODILESS:
            return self._complete(b"", 0)
        if self._chunked:
            return self._take_chunks()
        if self._until_close:
            return None
        text = self._headers["content-length"]
        if not (text.isascii() and text.isdigit()):
            raise Malformed(f"HTTP content-length {text[:20]!r}")
        length = int(text)
        if length > MAX_REPLY_BYTES:
            raise Malformed(f"HTTP reply of {length} bytes exceeds {MAX_REPLY_BYTES}")
        return None if len(self._buffer) < length else self._complete(bytes(self._buffer[:length]), length)

    def _take_chunks(self) -> HttpReply | None:
        body = bytearray()
        position = 0
        while True:  # ends: each turn moves on by a chunk or returns
            line_end = self._buffer.find(b"\r\n", position)
            if line_end < 0:
                return None
            digits = bytes(self._buffer[position:line_end]).partition(b";")[0].strip()
            if not digits or not _HEX_DIGITS.issuperset(digits):
                raise Malformed(f"HTTP chunk size {digits[:20]!r}")
            size = int(digits, 16)
            start = line_end + 2
            if size == 0:
                return self._end_of_chunks(bytes(body), start)
            if len(self._buffer) < start + size + 2:
                return None
            body += self._buffer[start : start + size]
            if self._buffer[start + size : start + size + 2] != b"\r\n":
                raise Malformed("HTTP chunk is not closed by a line end")
            position = start + size + 2

    def _end_of_chunks(self, body: bytes, start: int) -> HttpReply | None:
        """After the last chunk: nothing or trailers, then an empty line."""
        if self._buffer[start : start + 2] == b"\r\n":
            return self._complete(body, start + 2)
        end = self._buffer.find(b"\r\n\r\n", start)
        return None if end < 0 else self._complete(body, end + 4)

    def _complete(self, body: bytes, consumed: int) -> HttpReply:
        reply = HttpReply(self._status, self._headers, body)
        del self._buffer[:consumed]
        self._status, self._headers = 0, {}
        return reply
