"""Ids of cancelled work that may still come out of the queue."""

from __future__ import annotations

import time
from collections.abc import Iterable

_KEPT_MS = 10 * 60 * 1000
_IDS_MAX = 100_000
# How far the clocks of the executor and of NATS may be apart. A host that was started again may queue the same id
# later: that work is wanted.
_SKEW_MS = 500


class Cancels:
    """What was cancelled in the last ten minutes."""

    def __init__(self) -> None:
        # In the order in which they came, with the time of each.
        self._at_ms: dict[str, float] = {}

    def add(self, ids: Iterable[str]) -> None:
        """Remembers ids, and forgets old ones."""
        now = time.time() * 1000
        for id in ids:
            self._at_ms.pop(id, None)
            self._at_ms[id] = now
        while self._at_ms:
            oldest = next(iter(self._at_ms))
            if len(self._at_ms) <= _IDS_MAX and now - self._at_ms[oldest] <= _KEPT_MS:
                break
            del self._at_ms[oldest]

    def covers(self, id: str, published_ms: float) -> bool:
        """Whether work that was queued at that time was cancelled after it."""
        at_ms = self._at_ms.get(id)
        return at_ms is not None and published_ms <= at_ms + _SKEW_MS
