from __future__ import annotations

import json
from typing import Any

import pytest

from conclave_executor.work import Answered, Failed, Place, Result, UnreadableWork, Work

MESSAGE: dict[str, Any] = {
    "v": 1,
    "id": "d-1-0",
    "endpoint": "http://10.0.0.7:8000/",
    "headers": {"x-request-id": "r"},
    "body": {"model": "m", "n": 2, "seed": 2**63},
    "choices": 2,
    "deadline_ms": 1_790_000_000_000,
    "connect_timeout_ms": 5000,
    "first_byte_timeout_ms": 300_000,
    "idle_timeout_ms": 60_000,
    "answer_bytes_max": 8_388_608,
    "later": "ignored",
}


def test_work_is_read() -> None:
    work = Work.parse(json.dumps(MESSAGE).encode(), "d-1-0")
    assert (work.endpoint, work.choices, work.body["seed"]) == ("http://10.0.0.7:8000", 2, 2**63)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"v": 2}, "its version is 2, and this executor understands 1"),
        ({"v": None}, "its version is None, and this executor understands 1"),
        ({"id": "d-2-0"}, "its `id` is not that of its subject"),
        ({"body": []}, "its `body` is no JSON object"),
        ({"endpoint": "file:///etc/passwd"}, "its `endpoint` is no HTTP address"),
        ({"headers": {"a": 1}}, "its `headers` are no object of texts"),
        ({"choices": 0}, "its `choices` is no whole number from 1"),
        ({"deadline_ms": "soon"}, "its `deadline_ms` is no whole number from 1"),
        ({"answer_bytes_max": None}, "its `answer_bytes_max` is no whole number from 1"),
    ],
)
def test_work_that_cannot_be_read_says_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableWork) as caught:
        Work.parse(json.dumps(MESSAGE | change).encode(), "d-1-0")
    assert str(caught.value) == reason


def test_a_result_has_a_place_only_if_it_was_started() -> None:
    def result(place: Place | None) -> dict[str, Any]:
        failed = Failed("stalled", "silent", 100)
        message = json.loads(Result("d-1-0", failed, 3, place, 1, 2, 1).encode())
        assert isinstance(message, dict)
        return message

    fields = {"v": 1, "id": "d-1-0", "tokens": 3, "queued_ms": 1, "ran_ms": 2, "delivery": 1}
    failed = {"outcome": "failed", "kind": "stalled", "message": "silent", "silence_ms": 100}
    place = {"submission_id": "s", "actor": "a", "node": "n"}
    assert result(None) == fields | failed
    assert result(Place("s", "a", "n")) == fields | failed | {"place": place}


def test_an_answer_that_is_no_unicode_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        Result("d-1-0", Answered({"text": "\ud83d"}), 3, None, 1, 2, 1).encode()
