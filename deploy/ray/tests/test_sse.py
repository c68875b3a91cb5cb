import itertools

import pytest

from conclave_executor.sse import Events

STREAM = (
    '\ufeffdata: {"a":"é🦀"}\n\n: comment\r\n\r\nevent: x\r\ndata:one\r\n'
    "data: two\r\ndata\r\nid: 3\r\n\r\ndata:  spaced\r\rdatabase: no\n\ndata: [DONE]\n\ndata: cut off\n"
).encode()
EVENTS = ['{"a":"é🦀"}'.encode(), b"one\ntwo\n", b" spaced", b"[DONE]"]


def read(*pieces: bytes) -> list[bytes]:
    events = Events()
    return [event for piece in pieces for event in events.feed(piece)]


def test_a_stream_is_cut_into_the_data_of_its_events() -> None:
    assert read(STREAM) == EVENTS


def test_events_are_the_same_wherever_the_bytes_are_split() -> None:
    for one, other in itertools.combinations(range(len(STREAM)), 2):
        assert read(STREAM[:one], STREAM[one:other], STREAM[other:]) == EVENTS


def test_events_are_the_same_byte_for_byte() -> None:
    assert read(*(bytes([byte]) for byte in STREAM)) == EVENTS


@pytest.mark.parametrize("stream", [b"", b"data: 1\n", b"event: x\n\n", b":\n\n", b"\n\n\n"])
def test_what_is_no_complete_event_with_data_is_none(stream: bytes) -> None:
    assert read(stream) == []
