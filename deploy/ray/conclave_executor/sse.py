"""Server-sent events (WHATWG HTML, section 9.2.6), as far as model servers use them: only the data matters."""

from __future__ import annotations

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Events:
    """Cuts a stream of bytes into the data of its events, wherever the bytes were split."""

    __slots__ = ("_data", "_past_start", "_tail")

    def __init__(self) -> None:
        # Pieces of the line that has no end yet: joined once, so that one endless line costs no squares.
        self._tail: list[bytes] = []
        self._data: list[bytes] = []
        self._past_start = False

    def feed(self, data: bytes) -> list[bytes]:
        """The data of each event that these bytes complete; one that the stream never completes is none."""
        if not self._past_start:
            data = self._without_mark(data)
        if b"\n" not in data and b"\r" not in data and not self._ends_in_return():
            self._tail.append(data)
            return []
        if self._tail:
            data = b"".join((*self._tail, data))
        if b"\r" in data:
            # A carriage return at the very end may be half of a line end.
            held = data.endswith(b"\r")
            data = (data[:-1] if held else data).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            lines = data.split(b"\n")
            tail = lines.pop() + (b"\r" if held else b"")
        else:
            lines = data.split(b"\n")
            tail = lines.pop()
        self._tail = [tail] if tail else []
        return self._events_of(lines)

    def _events_of(self, lines: list[bytes]) -> list[bytes]:
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif not line:
                if self._data:
                    events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                    self._data = []
            elif line == b"data":
                self._data.append(b"")
        return events

    def _ends_in_return(self) -> bool:
        return bool(self._tail) and self._tail[-1].endswith(b"\r")

    def _without_mark(self, data: bytes) -> bytes:
        data = b"".join((*self._tail, data))
        self._tail = []
        self._past_start = len(data) >= len(_BYTE_ORDER_MARK) or not _BYTE_ORDER_MARK.startswith(data)
        return data.removeprefix(_BYTE_ORDER_MARK)
