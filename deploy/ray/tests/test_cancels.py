import pytest

from conclave_executor import cancels
from conclave_executor.cancels import Cancels


class Clock:
    now = 1_790_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(cancels, "time", clock)
    return clock


def test_a_cancel_holds_for_what_was_queued_before_it(clock: Clock) -> None:
    known = Cancels()
    known.add(["d-1-0"])
    now_ms = clock.now * 1000
    assert known.covers("d-1-0", now_ms - 60_000)
    # The clock of NATS may be ahead.
    assert known.covers("d-1-0", now_ms + 400)
    assert not known.covers("d-2-0", now_ms - 60_000)
    # A host that was started again wants it after all.
    assert not known.covers("d-1-0", now_ms + 1000)


def test_cancels_are_forgotten_after_ten_minutes(clock: Clock) -> None:
    known = Cancels()
    known.add(["d-1-0", "d-2-0"])
    clock.now += 300
    known.add(["d-1-0"])
    clock.now += 301
    known.add(["d-3-0"])
    assert known.covers("d-1-0", 0)
    assert not known.covers("d-2-0", 0)
    assert known.covers("d-3-0", 0)


def test_cancels_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancels, "_IDS_MAX", 3)
    known = Cancels()
    known.add(f"d-{number}-0" for number in range(5))
    assert [known.covers(f"d-{number}-0", 0) for number in range(5)] == [False, False, True, True, True]
